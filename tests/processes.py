"""`genrelay serve` as a child process: started, killed, stopped and woken at will."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parents[1]
GENRELAY = Path(sys.executable).with_name("genrelay")


class Process:
    """One `genrelay serve`; its log is a file."""

    def __init__(self, environment: Mapping[str, str], log: Path, role: str = "all") -> None:
        own = {name: value for name, value in os.environ.items() if not name.startswith(("GENRELAY_", "AWS_"))}
        self.environment = {**own, **environment}
        self.log = log
        self.role = role
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        """Return where it listens."""
        return f"http://127.0.0.1:{self.environment['GENRELAY_PORT']}"

    @property
    def pid(self) -> int:
        """Return its process id."""
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Start it and return once it is ready."""
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                GENRELAY, "serve", "--role", self.role, cwd=ROOT, env=self.environment, stdout=log, stderr=log
            )
        await self._until_ready()

    async def _until_ready(self) -> None:
        async with httpx.AsyncClient(trust_env=False, timeout=5) as http, asyncio.timeout(40):
            while True:
                assert self.running, self.tail()
                with contextlib.suppress(httpx.TransportError):
                    if (await http.get(f"{self.url}/readyz")).status_code == 200:
                        return
                await asyncio.sleep(0.02)

    async def ended(self, seconds: float = 30) -> int:
        """Return its exit status once it has ended, negative for a signal."""
        assert self._process is not None
        try:
            async with asyncio.timeout(seconds):
                return await self._process.wait()
        except TimeoutError:
            raise AssertionError(f"still running after {seconds} s; its log ends with\n{self.tail()}") from None

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    async def terminate(self, seconds: float = 30) -> int:
        """Ask it to stop; returns its exit status."""
        self.send(signal.SIGTERM)
        return await self.ended(seconds)

    async def kill(self) -> None:
        """End it for certain; nothing to do when it has ended."""
        if self.running:
            with contextlib.suppress(ProcessLookupError):
                self.send(signal.SIGKILL)
            await self.ended()

    async def stopped(self, seconds: float = 30) -> None:
        """Return once it has been stopped (SIGSTOP), by itself or by somebody else."""
        async with asyncio.timeout(seconds):
            while self._state() != "T":
                assert self.running, self.tail()
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
async def serve(
    environment: Mapping[str, str], log: Path, role: str = "all", **more: str
) -> AsyncIterator[Process]:
    """Run a process as long as the block; it is killed at the end if it still runs."""
    process = Process({**environment, **more}, log, role)
    try:
        await process.start()
        yield process
    finally:
        await process.kill()
