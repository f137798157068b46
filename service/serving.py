"""Running the service as a process: uvicorn around the application, signals, and the way out."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
from types import FrameType

import structlog
import uvicorn
import uvloop

from config.settings import Settings
from handlers.app import make_app
from handlers.protocol import Protocol
from service import points
from service.app import Role, Service, running_service
from service.engine.worker import Engine

log = structlog.get_logger()

_GRACE_SECONDS = 30
_FILES = 65_536


class _Server(uvicorn.Server):
    """uvicorn, with a word to whoever waits when it is told to stop."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service
        self._loop = asyncio.get_running_loop()
        self._draining: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
        """Start listening, and say where."""
        await super().startup(sockets)  # type: ignore[arg-type]
        for server in self.servers:
            for sock in server.sockets:
                host, port = sock.getsockname()[:2]
                log.info("service.listening", role=self._service.role, url=f"http://{host}:{port}")

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Finish the work under way, which may take minutes, and go on taking callbacks meanwhile; a second signal hurries."""
        engine = self._service.engine
        if engine is None:
            self._leave(sig, frame)
        else:
            # A signal handler runs between any two lines of Python; the loop is woken for the rest.
            self._loop.call_soon_threadsafe(self._drain, engine, sig)

    def _drain(self, engine: Engine, sig: int) -> None:
        if self._draining is None:
            log.info("service.draining", role=self._service.role)
            self._draining = asyncio.create_task(engine.stop())
            self._draining.add_done_callback(lambda _: self._leave(sig, None))
        else:
            engine.hurry()

    def _leave(self, sig: int, frame: FrameType | None) -> None:
        """Let long polls and streams go, then stop as uvicorn does."""
        self._service.endings.release()
        self._service.feed.release()
        super().handle_exit(sig, frame)


async def _serve(settings: Settings, role: Role) -> None:
    async with running_service(settings, role) as service:
        config = uvicorn.Config(
            make_app(service),
            host=settings.host,
            port=settings.port,
            loop="none",
            http=Protocol,
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            # Nobody's address is used for anything, so nobody's X-Forwarded-For is believed.
            proxy_headers=False,
            date_header=True,
            backlog=4096,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )
        server = _Server(config, service)
        # uvicorn takes SIGTERM and SIGINT while it serves, drains, and sends them again to whoever was there before.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        await server.serve()


def serve(settings: Settings, role: Role) -> None:
    """Serve until SIGTERM or SIGINT; returns when everything under way has ended."""
    _allow_files()
    points.arm(os.environ.get("GENRELAY_CRASH_AT"), os.environ.get("GENRELAY_STOP_AT"))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, role))


def _allow_files() -> None:
    """Let the process have as many connections as it is allowed to: the usual 1,024 are fewer than its streams."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _FILES if hard == resource.RLIM_INFINITY else min(hard, _FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
