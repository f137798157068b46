"""Running the sandbox as a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import uvicorn

from service.sandbox.app import sandbox_app
from service.sandbox.settings import SandboxSettings


def run(
    settings: SandboxSettings,
    *,
    host: str = "127.0.0.1",
    port: int = 8090,
    public_url: str | None = None,
    port_file: Path | None = None,
    listening: Callable[[str], None] | None = None,
) -> None:
    """Serve a sandbox until SIGTERM or SIGINT.

    port: 0 takes a free one. public_url: None makes image URLs carry the address that is listened on (the one of
    `settings` does not count here). port_file: gets the port as text, and `listening` the address, once both are true.
    """
    app = sandbox_app(settings)

    def announce(bound: int) -> None:
        here = f"http://{f'[{host}]' if ':' in host else host}:{bound}"
        app.state.sandbox.public_url = (public_url or here).rstrip("/")
        if port_file is not None:
            _write_whole(port_file, str(bound))
        if listening is not None:
            listening(here)

    # No access log: its lines would hold the signed queries of image URLs.
    config = uvicorn.Config(app, host=host, port=port, log_config=None, access_log=False, timeout_graceful_shutdown=1)
    _serve(_AnnouncingServer(config, announce))


class _AnnouncingServer(uvicorn.Server):
    """Tells its port once it listens."""

    def __init__(self, config: uvicorn.Config, announce: Callable[[int], None]) -> None:
        super().__init__(config)
        self._announce = announce

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._announce(self.servers[0].sockets[0].getsockname()[1])


def _serve(server: uvicorn.Server) -> None:
    # uvicorn raises the signal again once it has stopped; being asked to stop is no failure here.
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        with (
            contextlib.suppress(KeyboardInterrupt),
            asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner,
        ):
            runner.run(server.serve())
    finally:
        signal.signal(signal.SIGTERM, before)


def _write_whole(path: Path, text: str) -> None:
    """Write a file that nobody can see half-written."""
    draft = path.with_name(path.name + ".draft")
    draft.write_text(text)
    draft.replace(path)
