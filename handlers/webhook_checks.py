"""`POST /v1/webhook-checks`: do a provider's callbacks arrive here? Test jobs find out."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from handlers.auth import account_of
from handlers.bodies import read_body, read_json
from handlers.problems import Problem, invalid, unavailable
from handlers.query import Query
from service.app import Service
from service.webhook_checks import CheckBusyError, WebhookChecks, read_check_request


class MakeWebhookCheck:
    """The route of webhook checks."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._checks = WebhookChecks(service.context)

    async def create(self, request: Request) -> Response:
        """Submit test jobs and wait for their mocks; 200 within a minute, with what became of each step.

        503 from a service that is about to stop: nobody may take the jobs up.
        """
        account = await account_of(self._service, request)
        Query(request).end()
        given = await read_json(await read_body(request.scope, request.receive, 64 * 1024))
        asked = read_check_request(given, self._service.context.providers)
        if isinstance(asked, list):
            raise invalid(*asked)
        self._refuse_when_leaving()
        try:
            report = await self._checks.check(account, asked)
        except CheckBusyError as busy:
            retry_after = {"Retry-After": str(busy.retry_after)}
            raise Problem(429, "too_many_checks", str(busy), headers=retry_after) from None
        if not report.ok:
            # Nothing of what failed can be told from our own leaving.
            self._refuse_when_leaving()
        return JSONResponse(report.as_json())

    def _refuse_when_leaving(self) -> None:
        engine = self._service.engine
        if self._service.endings.released or (engine is not None and engine.stopping):
            raise unavailable("the service is about to stop; ask again, another one may answer")
