"""Waking up whoever waits for a job's end: NOTIFY wakes, the table tells, polling stays.

Its connection listens for others, too: a process needs one session for everything that it is told of.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from uuid import UUID

import asyncpg
import structlog

log = structlog.get_logger()

CHANNEL = "genrelay_ended"
_POLL_SECONDS = 2.0


class Endings:
    """Listens on a connection of its own, and builds it anew when it is cut."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._task: asyncio.Task[None] | None = None
        # Further channels, each with who is told; to be filled before `start`.
        self.also: dict[str, Callable[[str], None]] = {}
        self.listening = False
        self.released = False

    def start(self) -> None:
        """Begin to listen."""
        self._task = asyncio.create_task(self._listen_forever(), name="endings")

    def release(self) -> None:
        """Answer everybody who waits as things are: the process is about to stop."""
        self.released = True
        for events in self._waiting.values():
            for event in events:
                event.set()

    async def stop(self) -> None:
        """Stop listening and let everybody who waits go."""
        self.release()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    @asynccontextmanager
    async def subscribe(self, job_id: UUID) -> AsyncIterator[asyncio.Event]:
        """Lend an event that is set when the job may have ended; look at the job after entering, before waiting."""
        event = asyncio.Event()
        waiting = self._waiting.setdefault(str(job_id), set())
        waiting.add(event)
        try:
            yield event
        finally:
            waiting.discard(event)
            if not waiting:
                self._waiting.pop(str(job_id), None)

    async def pause(self, event: asyncio.Event, seconds: float) -> None:
        """Wait for the event, but no longer than a poll's pause: a listener may be dead without knowing it."""
        with suppress(TimeoutError):
            async with asyncio.timeout(min(seconds, _POLL_SECONDS)):
                await event.wait()
        event.clear()

    async def _listen_forever(self) -> None:
        while True:
            try:
                await self._listen()
            except Exception as error:  # a listener that is silently dead is worse than one that logs
                log.warning("listener.lost", channel=CHANNEL, reason=type(error).__name__)
            self.listening = False
            await asyncio.sleep(0.5)

    async def _listen(self) -> None:
        connection = await asyncpg.connect(
            self._dsn, timeout=5, server_settings={"application_name": "genrelay listener"}
        )
        try:
            cut = asyncio.Event()
            connection.add_termination_listener(lambda *_: cut.set())
            await connection.add_listener(CHANNEL, self._wake)
            for channel in self.also:
                await connection.add_listener(channel, self._pass_on)
            self.listening = True
            await cut.wait()
        finally:
            connection.terminate()

    def _pass_on(self, _connection: object, _pid: int, channel: str, payload: object) -> None:
        self.also[channel](str(payload))

    def _wake(self, *said: object) -> None:
        for event in self._waiting.get(str(said[-1]), ()):
            event.set()
