"""The sandbox as an ASGI application."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from service.sandbox import downloads, inspection, modelslab, novita
from service.sandbox.connections import CuttableStarlette
from service.sandbox.settings import SandboxSettings
from service.sandbox.state import Clock, Sandbox


def sandbox_app(settings: SandboxSettings, now: Clock = time.time) -> Starlette:
    """Return providers to develop against; the state is `app.state.sandbox`. `now` gives Unix seconds."""
    sandbox = Sandbox(settings, now)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with sandbox.opened():
            yield

    app = CuttableStarlette(
        routes=[
            *novita.ROUTES,
            *modelslab.ROUTES,
            *downloads.ROUTES,
            *inspection.ROUTES,
        ],
        exception_handlers={404: _answer_unknown, 405: _answer_unknown},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    app.state.sandbox = sandbox
    return app


async def _answer_unknown(request: Request, _: Exception) -> Response:
    is_modelslab = request.url.path.startswith("/api/")
    return modelslab.answer_unknown() if is_modelslab else novita.answer_unknown()
