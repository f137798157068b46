"""`/openapi.json` and `/docs`: the contract, for programs and for people. Made once, when somebody asks."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from functools import cached_property

from starlette.requests import Request
from starlette.responses import Response

from handlers.openapi.document import make_document
from handlers.openapi.page import STYLE_DIGEST, render_page

# Nothing is loaded, run or sent from the page; its one style is named by its digest.
_POLICY = f"default-src 'none'; style-src 'sha256-{STYLE_DIGEST}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


@dataclass(frozen=True, slots=True)
class _Made:
    body: bytes
    media_type: str
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def etag(self) -> str:
        return f'"{hashlib.sha256(self.body).hexdigest()[:32]}"'


class Contract:
    """The routes of the contract. server: the service's public URL, if it has one."""

    def __init__(self, server: str | None) -> None:
        self._server = server

    async def document(self, request: Request) -> Response:
        """Show the document."""
        return _answer(request, self._document)

    async def page(self, request: Request) -> Response:
        """Show it as a page."""
        return _answer(request, self._page)

    @cached_property
    def _document(self) -> _Made:
        body = json.dumps(make_document(self._server), ensure_ascii=False, separators=(",", ":"))
        # Tools that generate clients run in browsers, too, and there is nothing secret in it.
        return _Made(body.encode(), "application/json", {"Access-Control-Allow-Origin": "*"})

    @cached_property
    def _page(self) -> _Made:
        headers = {"Content-Security-Policy": _POLICY, "Referrer-Policy": "no-referrer"}
        return _Made(render_page(make_document(self._server)).encode(), "text/html; charset=utf-8", headers)


def _answer(request: Request, made: _Made) -> Response:
    etag = made.etag
    headers = {
        "ETag": etag,
        "Cache-Control": "public, max-age=300",
        "X-Content-Type-Options": "nosniff",
        **made.headers,
    }
    known = [each.strip().removeprefix("W/") for each in request.headers.get("if-none-match", "").split(",")]
    if etag in known or "*" in known:
        return Response(status_code=304, headers=headers)
    return Response(made.body, headers=headers, media_type=made.media_type)
