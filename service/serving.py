"""Running the service as a process: uvicorn around the application, signals, and the way out."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import socket
from contextlib import suppress
from types import FrameType

import structlog
import uvicorn
import uvloop
from uvicorn.server import ServerState

from config.settings import Settings
from handlers.app import make_app
from handlers.protocol import Protocol, close_after_answers, is_busy, is_new
from service import points
from service.app import Role, Service, running_service
from service.leaving import Leaving
from service.net.listening import take_no_more
from service.stopping import TERMINATED, Start

log = structlog.get_logger()

# The longest request: the check of a bucket, or a twin with the same Idempotency-Key, waits 50 s at most.
_GRACE_SECONDS = 60
# Who has connected and not asked yet, or has an idle connection and asks in this moment, is still answered. Looked at several
# times before nobody is believed to be there: a loop that was held up runs its timers before it takes what has come meanwhile.
_FIRST_REQUEST_SECONDS, _NEXT_REQUEST_SECONDS, _LOOK_SECONDS, _LEAST_LOOKS = 2.0, 0.5, 0.05, 3
_FILES = 65_536


class _State(ServerState):
    """What uvicorn's server and its connections share, and whether the process leaves."""

    def __init__(self, leaving: Leaving) -> None:
        super().__init__()
        self.leaving = leaving


class _Server(uvicorn.Server):
    """uvicorn, with a way out on which no request is lost."""

    def __init__(self, config: uvicorn.Config, service: Service, start: Start) -> None:
        super().__init__(config)
        self._start = start
        self.server_state = _State(service.leaving)
        self._service = service
        self._loop = asyncio.get_running_loop()
        self._hurried = asyncio.Event()
        self._winding_down: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
        """Start listening, and say where."""
        # uvicorn has its own handlers by now.
        self._start.end()
        await super().startup(sockets)  # type: ignore[arg-type]
        for server in self.servers:
            for sock in server.sockets:
                host, port = sock.getsockname()[:2]
                log.info("service.listening", role=self._service.role, url=f"http://{host}:{port}")

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Finish the work under way, which may take minutes, and go on taking callbacks meanwhile; a second signal hurries."""
        # A signal handler runs between any two lines of Python; the loop is woken for the rest.
        self._loop.call_soon_threadsafe(self._leave, sig)

    def _leave(self, sig: int) -> None:
        if self._winding_down is None:
            log.info("service.draining", role=self._service.role)
            self._service.leaving.begin()
            close_after_answers(self.server_state.connections)
            self._winding_down = asyncio.create_task(self._wind_down())
            self._winding_down.add_done_callback(lambda _: self._stop_serving(sig))
            return
        self._hurried.set()
        if self._service.engine is not None:
            self._service.engine.hurry()
        # Only requests are waited for any more.
        self.force_exit = self.should_exit

    async def _wind_down(self) -> None:
        """Return when there is no more work under way, and whoever sends requests here has had the time to hear of it."""
        engine = self._service.engine
        await asyncio.gather(*[] if engine is None else [engine.stop()], self._linger())

    async def _linger(self) -> None:
        # Nobody sends requests to a worker.
        seconds = 0.0 if self._service.role == "worker" else self._service.settings.http.linger_seconds
        with suppress(TimeoutError):
            await asyncio.wait_for(self._hurried.wait(), seconds)

    def _stop_serving(self, sig: int) -> None:
        """Let long polls and streams go, then stop as uvicorn does."""
        close_after_answers(self.server_state.connections)
        self._service.endings.release()
        self._service.feed.release()
        super().handle_exit(sig, None)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer who has just connected or asked, then stop as uvicorn does: it resets those connections."""
        for server in self.servers:
            for sock in server.sockets:
                take_no_more(sock)
        # What the kernel had accepted becomes a connection within a turn of the loop; what it had received, a request.
        for look in range(1, round(_FIRST_REQUEST_SECONDS / _LOOK_SECONDS) + 1):
            await asyncio.sleep(_LOOK_SECONDS)
            quiet = [each for each in self.server_state.connections if not is_busy(each)]
            if look * _LOOK_SECONDS >= _NEXT_REQUEST_SECONDS:
                quiet = [each for each in quiet if is_new(each)]
            if self._hurried.is_set() or (look >= _LEAST_LOOKS and not quiet):
                break
        await super().shutdown(sockets)


async def _serve(settings: Settings, role: Role) -> None:
    start = Start()
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
        server = _Server(config, service, start)
        # uvicorn takes SIGTERM and SIGINT while it serves, drains, and sends them again to whoever was there before: for
        # SIGTERM that is `start`, which is over then.
        signal.signal(signal.SIGINT, lambda *_: None)
        await server.serve()


def serve(settings: Settings, role: Role) -> None:
    """Serve until SIGTERM or SIGINT; returns when everything under way has ended.

    SIGTERM before it listens: what has been started is stopped, and the process ends with TERMINATED.
    """
    _allow_files()
    points.arm(os.environ.get("GENRELAY_CRASH_AT"), os.environ.get("GENRELAY_STOP_AT"))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            runner.run(_serve(settings, role))
        except asyncio.CancelledError:
            raise SystemExit(TERMINATED) from None


def _allow_files() -> None:
    """Let the process have as many connections as it is allowed to: the usual 1,024 are fewer than its streams."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _FILES if hard == resource.RLIM_INFINITY else min(hard, _FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
