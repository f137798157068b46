"""`POST /v1/webhook-checks`: do a provider's callbacks arrive here? Test jobs find out."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from handlers.auth import account_of
from handlers.bodies import read_body, read_json
from handlers.problems import Problem, invalid
from service.app import Service
from service.webhook_checks import CheckBusyError, WebhookChecks, read_check_request


class MakeWebhookCheck:
    """The route of webhook checks."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._checks = WebhookChecks(service.context)

    async def create(self, request: Request) -> Response:
        """Submit test jobs and wait for their mocks; 200 within a minute, with what became of each step."""
        account = await account_of(self._service, request)
        given = await read_json(await read_body(request.scope, request.receive, 64 * 1024))
        asked = read_check_request(given, self._service.context.providers)
        if isinstance(asked, list):
            raise invalid(*asked)
        try:
            report = await self._checks.check(account, asked)
        except CheckBusyError as busy:
            retry_after = {"Retry-After": str(busy.retry_after)}
            raise Problem(429, "too_many_checks", str(busy), headers=retry_after) from None
        return JSONResponse(report.as_json())
