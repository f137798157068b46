"""What every request passes: an id, problems instead of tracebacks, one log line, metrics."""

from __future__ import annotations

import re
import time
from typing import Any
from uuid import uuid4

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bind_contextvars, clear_contextvars

from handlers.problems import Problem, decide_problem, not_found
from service import metrics, tracing
from service.ids import BadId, read, show
from service.tracing import Traceparent, read_traceparent

log = structlog.get_logger()

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
# What nginx logs when a client hangs up before its answer; nobody reads it but us.
_CLIENT_GONE = 499
# Logged once per batch or not worth a line: an orchestrator asks every few seconds.
_QUIET = ("/v1/callbacks/", "/livez", "/readyz", "/metrics")


class Edge:
    """ASGI middleware around the routes; plain ASGI, because it is on the path of every callback."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = _Request(scope, send)
        # The task may be that of the connection's last request, or a copy of it.
        clear_contextvars()
        given = read_traceparent(_header(scope, b"traceparent"))
        with (
            _span(scope, given) as span,
            tracing.inside(span.traceparent or given or tracing.new_traceparent()) as trace,
        ):
            bind_contextvars(request_id=request.id, trace_id=trace.trace_id)
            try:
                await self._app(scope, receive, request.send)
            except ClientDisconnect:
                request.status = _CLIENT_GONE
            except Exception as error:
                await request.fail(error, receive)
            finally:
                request.finish()
                span.rename(f"{scope['method']} {_route(scope)}")
                span.set(http_status=request.status, request_id=request.id)
                clear_contextvars()


async def answer_problem(error: Exception, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer an exception of a request that did not come through `Edge`, as `Edge` would have."""
    request = _Request(scope, send)
    if isinstance(error, ClientDisconnect):
        request.status = _CLIENT_GONE
    else:
        await request.fail(error, receive)
    request.finish()


class _Request:
    def __init__(self, scope: Scope, send: Send) -> None:
        self._scope, self._send = scope, send
        self._began = time.perf_counter()
        self.status = 0
        self.id = _given_id(scope) or uuid4().hex
        scope.setdefault("state", {})["request_id"] = self.id

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", ()), (b"x-request-id", self.id.encode())]
        await self._send(message)

    async def fail(self, error: Exception, receive: Receive) -> None:
        problem = decide_problem(error)
        if problem.status == 500:
            log.error("request.failed", request_id=self.id, route=_route(self._scope), exc_info=error)
        if self.status == 0:
            await problem.response(self.id)(self._scope, receive, self.send)

    def finish(self) -> None:
        route = _route(self._scope)
        seconds = time.perf_counter() - self._began
        metrics.REQUESTS.labels(route, str(self.status)).inc()
        # A stream's status says how it began; why it has ended is told beside it.
        ended = self._scope["state"].get("ended")
        if ended is None:
            metrics.REQUEST_SECONDS.labels(route).observe(seconds)
        if not self._scope["path"].startswith(_QUIET):
            more = _job_of(self._scope, route) | ({} if ended is None else {"ended": ended})
            log.info(
                "request.handled",
                request_id=self.id,
                method=self._scope["method"],
                route=route,
                status=self.status,
                seconds=round(seconds, 4),
                **more,
            )


def _given_id(scope: Scope) -> str | None:
    text = _header(scope, b"x-request-id")
    return text if text is not None and _REQUEST_ID.fullmatch(text) else None


def _header(scope: Scope, wanted: bytes) -> str | None:
    for name, value in scope["headers"]:
        if name == wanted:
            text: str = value.decode("latin-1")
            return text
    return None


def _span(scope: Scope, given: Traceparent | None) -> tracing.Span:
    if not tracing.is_recording() or scope["path"].startswith(_QUIET):
        return tracing.NO_SPAN
    return tracing.span(scope["method"], given, kind="server")


def _job_of(scope: Scope, route: str) -> dict[str, str]:
    """Return which job a request was about, as far as its path says so."""
    if not route.startswith("/v1/jobs/{id}"):
        return {}
    try:
        return {"job_id": show("job", read("job", scope["path_params"]["id"]))}
    except (BadId, KeyError):
        return {}


def _route(scope: Scope) -> str:
    """Return the route's pattern, never the path: paths of callbacks hold tokens."""
    route: Any = scope.get("route")
    return getattr(route, "path", None) or scope.get("state", {}).get("route") or "unmatched"


async def show_http_exception(request: Request, error: Exception) -> Response:
    """Answer what Starlette raises, for unknown routes and methods, as a problem too."""
    assert isinstance(error, HTTPException)
    problem: Problem = _from_starlette(request, error)
    return problem.response(request.state.request_id)


def _from_starlette(request: Request, error: HTTPException) -> Problem:
    if error.status_code == 404:
        return not_found("route")
    if error.status_code == 405:
        allow = {"Allow": ", ".join(_methods(request))}
        return Problem(405, "method_not_allowed", "this route does not take this method", headers=allow)
    return Problem(error.status_code, "invalid_request", str(error.detail), headers=error.headers)


def _methods(request: Request) -> list[str]:
    """Return what this path takes; Starlette itself names the methods of its first route only."""
    matching = [route for route in request.app.routes if route.matches(request.scope)[0] is not Match.NONE]
    return sorted({method for route in matching for method in getattr(route, "methods", None) or ()})
