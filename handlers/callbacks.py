"""`POST /v1/callbacks/{provider}/{token}`: where providers post; the token is the key."""

from __future__ import annotations

from starlette.types import Receive, Scope, Send

from handlers.bodies import read_body
from handlers.problems import Problem, decide_problem, not_found
from service import metrics
from service.app import Service
from service.callbacks import tokens
from service.callbacks.inbox import InboxUnavailableError

_OK = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"application/json"), (b"content-length", b"2")],
}
_OK_BODY = {"type": "http.response.body", "body": b"{}"}


class ReceiveCallback:
    """An ASGI endpoint rather than a function: this is the hot path, and nothing of Starlette's is needed on it."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Commit a callback and acknowledge it, in this order; whatever its body is."""
        if scope["method"] != "POST":
            raise Problem(405, "method_not_allowed", "callbacks are posted", headers={"Allow": "POST"})
        provider, token = scope["path_params"]["provider"], scope["path_params"]["token"]
        claim = tokens.check(self._service.keyring, provider, token)
        if claim is None:
            metrics.CALLBACKS.labels("unknown", "bad_token").inc()
            raise not_found("callback")
        try:
            body = await read_body(scope, receive, self._service.settings.callbacks.max_bytes)
            headers = b"\n".join([name + b": " + value for name, value in scope["headers"]])[:16384]
            await self._service.inbox.put(claim.job_id, claim.attempt, headers, body)
        except (Problem, InboxUnavailableError) as error:
            metrics.CALLBACKS.labels(provider, decide_problem(error).code).inc()
            raise
        metrics.CALLBACKS.labels(provider, "kept").inc()
        await send({**_OK, "headers": list(_OK["headers"])})  # type: ignore[call-overload]
        await send(_OK_BODY)
