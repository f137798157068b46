"""`genrelay serve` as processes of their own: started, killed, stopped and woken at will.

They are forked off a server that has imported everything already: a start from nothing costs a second of CPU, and these
tests start dozens. What the command line adds to it has tests of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import httpx

from config.loading import load_settings
from config.logging import set_up_logging
from service.app import Role
from service.serving import serve as run

GENRELAY = Path(sys.executable).with_name("genrelay")
# A start also looks who of the others has ended, and two threads that look at once lose the exit status (it becomes 255).
_LOOKING = threading.Lock()
_FORKING = multiprocessing.get_context("forkserver")
_FORKING.set_forkserver_preload(["pytest", "service.serving", "aioboto3", "aiobotocore.session", "tests.processes"])


def _serve(environment: dict[str, str], log: str, role: Role) -> None:
    """Be a service: what the process does from its first moment on."""
    for name in [name for name in os.environ if name.startswith(("GENRELAY_", "AWS_"))]:
        del os.environ[name]
    os.environ.update(environment)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(out, 1)
    os.dup2(out, 2)
    settings = load_settings()
    set_up_logging(settings.log_level, settings.log_format)
    run(settings, role)
    sys.exit(0)


class Process:
    """One service; its log is a file."""

    def __init__(self, environment: Mapping[str, str], log: Path, role: Role = "all") -> None:
        self.environment = dict(environment)
        self.log = log
        self._process = _FORKING.Process(target=_serve, args=(self.environment, str(log), role), daemon=True)

    @property
    def url(self) -> str:
        """Return where it listens."""
        return f"http://127.0.0.1:{self.environment['GENRELAY_PORT']}"

    @property
    def pid(self) -> int:
        """Return its process id."""
        assert self._process.pid is not None
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it has not ended; a stopped one lives."""
        with _LOOKING:
            return self._process.is_alive()

    async def start(self) -> None:
        """Start it and return once it is ready."""
        await asyncio.to_thread(self._start)
        async with httpx.AsyncClient(trust_env=False, timeout=5) as http, asyncio.timeout(40):
            while not await self._ready(http):
                assert self.alive, self.tail()
                await asyncio.sleep(0.02)

    def _start(self) -> None:
        with _LOOKING:
            self._process.start()

    async def _ready(self, http: httpx.AsyncClient) -> bool:
        with contextlib.suppress(httpx.TransportError):
            return (await http.get(f"{self.url}/readyz")).status_code == 200
        return False

    async def ended(self, seconds: float = 30) -> int:
        """Return its exit status once it has ended, negative for a signal."""
        loop, over = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._process.sentinel, over.set)
        try:
            async with asyncio.timeout(seconds):
                await over.wait()
        except TimeoutError:
            pass
        finally:
            loop.remove_reader(self._process.sentinel)
        with _LOOKING:
            self._process.join(0.1)
            status = self._process.exitcode
        assert status is not None, f"still running after {seconds} s; its log ends with\n{self.tail()}"
        return status

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    async def terminate(self, seconds: float = 30) -> int:
        """Ask it to stop; returns its exit status."""
        self.send(signal.SIGTERM)
        return await self.ended(seconds)

    async def kill(self) -> None:
        """End it for certain; nothing to do when it has ended."""
        if self.alive:
            self._process.kill()
            await self.ended()

    async def stopped(self, seconds: float = 30) -> None:
        """Return once it has been stopped (SIGSTOP), by itself or by somebody else."""
        async with asyncio.timeout(seconds):
            while self._state() != "T":
                assert self.alive, self.tail()
                await asyncio.sleep(0.02)

    def _state(self) -> str:
        stat = Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8", errors="replace")
        return stat.rpartition(")")[2].split()[0]

    def tail(self, lines: int = 30) -> str:
        """Return the end of its log."""
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])

    def said(self, event: str) -> int:
        """Return how many lines of its log are about an event."""
        return self.log.read_text(encoding="utf-8", errors="replace").count(f'"event": "{event}"')


@contextlib.asynccontextmanager
async def serve(environment: Mapping[str, str], log: Path, role: Role = "all") -> AsyncIterator[Process]:
    """Run a process as long as the block; it is killed at the end if it still runs."""
    process = Process(environment, log, role)
    try:
        await process.start()
        yield process
    finally:
        await process.kill()
