"""Running an ASGI app behind real uvicorn on a free port, in the test's own event loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import uvicorn
from starlette.types import ASGIApp

from handlers.protocol import Protocol
from service.sandbox import Sandbox, SandboxSettings, sandbox_app

GRACE_SECONDS = 1.0


@contextlib.asynccontextmanager
async def serving(app: ASGIApp, port: int = 0, host: str = "127.0.0.1") -> AsyncIterator[str]:
    """Serve `app` and yield its base URL (`http://127.0.0.1:…`, no slash at the end); lifespan included."""
    server = uvicorn.Server(uvicorn.Config(app, host=host, port=port, http=Protocol, log_config=None, access_log=False))
    server.config.load()
    server.lifespan = server.config.lifespan_class(server.config)
    # Not `serve()`: it takes over the process's signals, and looks only ten times a second whether it may stop.
    # No socket of ours either: asyncio sets TCP_NODELAY only on those it makes, and without it an answer takes 40 ms.
    try:
        await server.startup()
    except SystemExit:
        # It would end the event loop, and pytest would blame every later test that uses the same fixture.
        raise RuntimeError(f"nothing can listen on {host}:{port}") from None
    try:
        yield f"http://{host}:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        await _stop(server)


async def _stop(server: uvicorn.Server) -> None:
    for listening in server.servers:
        await close_when_accepted(listening)
    for connection in list(server.server_state.connections):
        connection.shutdown()
    requests = set(server.server_state.tasks)
    if requests:
        _, late = await asyncio.wait(requests, timeout=GRACE_SECONDS)
        for request in late:
            request.cancel()
        await asyncio.gather(*late, return_exceptions=True)
    # A request that was canceled leaves its connection open, which would outlive the loop.
    for connection in list(server.server_state.connections):
        connection.transport.abort()
    await asyncio.sleep(0)
    await server.lifespan.shutdown()


async def close_when_accepted(server: asyncio.Server) -> None:
    """Stop listening, once what was accepted a moment ago has become a connection: asyncio would lose its socket else."""
    loop = asyncio.get_running_loop()
    for each in server.sockets:
        loop.remove_reader(each)
    while any(_is_accepting(task) for task in asyncio.all_tasks()):
        await asyncio.sleep(0)
    server.close()


def _is_accepting(task: asyncio.Task[object]) -> bool:
    return "_accept_connection2" in getattr(task.get_coro(), "__qualname__", "")


@dataclass(frozen=True)
class ServedSandbox:
    """A sandbox that is listening: where, and what it remembers."""

    url: str
    sandbox: Sandbox


@contextlib.asynccontextmanager
async def serving_sandbox(
    settings: SandboxSettings | None = None, now: Callable[[], float] | None = None
) -> AsyncIterator[ServedSandbox]:
    """Serve a sandbox whose image URLs carry the address that it listens on."""
    settings = settings or SandboxSettings(latency_seconds=0.01, callback_retry_seconds=(0.01,) * 4)
    app = sandbox_app(settings) if now is None else sandbox_app(settings, now)
    async with serving(app) as url:
        app.state.sandbox.public_url = url
        yield ServedSandbox(url, app.state.sandbox)
