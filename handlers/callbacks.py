"""`POST /v1/callbacks/{provider}/{token}`: where providers post; the token is the key."""

from __future__ import annotations

import time

from starlette.types import Receive, Scope, Send

from handlers.bodies import read_body
from handlers.edge import answer_problem
from handlers.problems import Problem, decide_problem, not_found
from service import metrics
from service.app import Service
from service.callbacks import tokens
from service.callbacks.inbox import InboxUnavailableError
from service.callbacks.tokens import Claim
from service.providers.registry import PROVIDERS

_OK = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"application/json"), (b"content-length", b"2")],
}
_OK_BODY = {"type": "http.response.body", "body": b"{}"}


PREFIX = "/v1/callbacks/"
PATTERN = PREFIX + "{provider}/{token}"


class ReceiveCallback:
    """An ASGI endpoint rather than a function: this is the hot path, and nothing of Starlette's is needed on it."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._kept = {name: metrics.CALLBACKS.labels(name, "kept") for name in PROVIDERS}
        self._handled = metrics.REQUESTS.labels(PATTERN, "200")
        self._seconds = metrics.REQUEST_SECONDS.labels(PATTERN)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request that came through the routes: a good one, but for its method or its token."""
        if scope["method"] != "POST":
            raise Problem(405, "method_not_allowed", "callbacks are posted", headers={"Allow": "POST"})
        claim = self.claim(scope["path"])
        if claim is None:
            metrics.CALLBACKS.labels("unknown", "bad_token").inc()
            raise not_found("callback")
        await self.keep(claim, scope["path_params"]["provider"], scope, receive)
        await send_ok(send)

    def claim(self, path: str) -> Claim | None:
        """Return what the token in a callback's path says, None if it is not good."""
        provider, _, token = path[len(PREFIX) :].partition("/")
        return tokens.check(self._service.keyring, provider, token) if provider in self._kept else None

    async def shortcut(self, scope: Scope, receive: Receive, send: Send) -> bool:
        """Handle a good callback past the routes; False when it is none, and nothing was read or answered."""
        claim = self.claim(scope["path"]) if scope["method"] == "POST" else None
        if claim is None:
            return False
        began = time.perf_counter()
        try:
            await self.keep(claim, scope["path"][len(PREFIX) :].partition("/")[0], scope, receive)
        except Exception as error:
            scope["state"] = {"route": PATTERN}
            await answer_problem(error, scope, receive, send)
        else:
            self._handled.inc()
            await send_ok(send)
            self._seconds.observe(time.perf_counter() - began)
        return True

    async def keep(self, claim: Claim, provider: str, scope: Scope, receive: Receive) -> None:
        """Return once the callback is committed, whatever its body is."""
        try:
            body = await read_body(scope, receive, self._service.settings.callbacks.max_bytes)
            headers = b"\n".join([name + b": " + value for name, value in scope["headers"]])[:16384]
            await self._service.inbox.put(claim.job_id, claim.attempt, headers, body)
        except (Problem, InboxUnavailableError) as error:
            metrics.CALLBACKS.labels(provider, decide_problem(error).code).inc()
            raise
        self._kept[provider].inc()


async def send_ok(send: Send) -> None:
    """Answer 200 `{}`."""
    await send({**_OK, "headers": list(_OK["headers"])})  # type: ignore[call-overload]
    await send(_OK_BODY)
