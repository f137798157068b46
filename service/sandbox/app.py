"""The sandbox as an ASGI application."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.sandbox import inspection
from service.sandbox.connections import CuttableStarlette
from service.sandbox.downloads import download_image, download_test_image
from service.sandbox.envelopes import Refusal, refusal_response
from service.sandbox.results import TEST_IMAGE_PATH
from service.sandbox.routes import look_up, submit_img2img, submit_txt2img
from service.sandbox.settings import SandboxSettings
from service.sandbox.state import Clock, Sandbox


def sandbox_app(settings: SandboxSettings, now: Clock = time.time) -> Starlette:
    """Return a Novita to develop against; its state is `app.state.sandbox`. `now` gives Unix seconds."""
    sandbox = Sandbox(settings, now)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with sandbox.opened():
            yield

    app = CuttableStarlette(
        routes=[
            Route("/v3/async/task-result", look_up, methods=["GET"]),
            Route("/v3/async/txt2img", submit_txt2img, methods=["POST"]),
            Route("/v3/async/img2img", submit_img2img, methods=["POST"]),
            Route("/prod/{task_id}/{name}", download_image, methods=["GET"]),
            Route(TEST_IMAGE_PATH, download_test_image, methods=["GET"]),
            *inspection.ROUTES,
        ],
        exception_handlers={404: _answer_unknown, 405: _answer_unknown},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    app.state.sandbox = sandbox
    return app


async def _answer_unknown(request: Request, _: Exception) -> Response:
    return refusal_response(Refusal("API_NOT_FOUND", "there is no such API"))
