"""The service's own application with two endpoints that do nothing, to compare the callback route with.

`POST /bare` goes through everything the service puts around its routes; `POST /naked` is a Starlette application of its
own that is asked before the service's, so it shares nothing but the process. Both read the body and answer 200 `{}`.
Run as `python -m tests.bench.bare_app` with the environment of `genrelay serve --role api`.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator

import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from config.loading import load_settings
from config.logging import set_up_logging
from config.settings import Settings
from handlers.app import make_app
from service.app import running_service


@contextlib.asynccontextmanager
async def running_app(settings: Settings) -> AsyncIterator[Starlette]:
    """Start the service with its API but without workers, and yield the application that `serve` would serve."""
    async with running_service(settings, role="api") as service:
        yield make_app(service)


async def bare(request: Request) -> JSONResponse:
    """Read the body and do nothing."""
    await request.body()
    return JSONResponse({})


def beside(app: ASGIApp) -> ASGIApp:
    """Return an application that answers `/naked` itself and leaves everything else to `app`."""
    naked = Starlette(routes=[Route("/naked", bare, methods=["POST"])])

    async def dispatch(scope: Scope, receive: Receive, send: Send) -> None:
        chosen = naked if scope["type"] == "http" and scope["path"] == "/naked" else app
        await chosen(scope, receive, send)

    return dispatch


async def serve() -> None:
    """Serve until SIGTERM, as `genrelay serve` does: uvloop, httptools, no access log of uvicorn's."""
    settings = load_settings()
    set_up_logging(settings.log_level, "json")
    async with running_app(settings) as app:
        app.router.routes.insert(0, Route("/bare", bare, methods=["POST"]))
        config = uvicorn.Config(
            beside(app),
            host=settings.host,
            port=settings.port,
            http="httptools",
            access_log=False,
            log_config=None,
            # The service has been started above; a lifespan of the application's own would start it twice.
            lifespan="off",
        )
        # uvicorn sends the signal that ended it again; by then the service's own way out has yet to begin.
        signal.signal(signal.SIGTERM, lambda *_: None)
        await uvicorn.Server(config).serve()


def main() -> None:
    """Run it."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())


if __name__ == "__main__":
    main()
