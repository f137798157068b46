"""Whose turn it is: a request takes its account's place when it is known whose it is, and leaves it whatever happens."""

from __future__ import annotations

from functools import partial
from uuid import UUID

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.limits import Limits, RequestLimits

_PLACE = "place"
_LIMITS = "limits"
_QUOTA = "quota"


class Places:
    """ASGI middleware around everything that answers: gives a request's place back, and tells what is left of its quota."""

    def __init__(self, app: ASGIApp, limits: RequestLimits) -> None:
        self._app, self._limits = app, limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope.setdefault("state", {})
        try:
            await self._app(scope, receive, partial(_send, scope, send))
        finally:
            leave_place(scope, self._limits)


def take_place(scope: Scope, requests: RequestLimits, account_id: UUID, limits: Limits) -> None:
    """Take the account's place for a request, once; raises TooManyError."""
    state = scope["state"]
    if _LIMITS in state:
        return
    state[_QUOTA] = requests.enter(account_id, limits)
    state[_LIMITS], state[_PLACE] = limits, account_id


def leave_place(scope: Scope, requests: RequestLimits) -> None:
    """Give the request's place back, if it has one."""
    account_id = scope["state"].pop(_PLACE, None)
    if account_id is not None:
        requests.leave(account_id)


def limits_of(scope: Scope) -> Limits | None:
    """Return the limits of the account whose request it is, None before that is known."""
    limits: Limits | None = scope["state"].get(_LIMITS)
    return limits


async def _send(scope: Scope, send: Send, message: Message) -> None:
    if message["type"] == "http.response.start":
        quota = scope["state"].get(_QUOTA)
        if quota:
            told = [(name.lower().encode(), value.encode()) for name, value in quota.items()]
            message["headers"] = [*message.get("headers", ()), *told]
    await send(message)
