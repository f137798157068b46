"""Waking up whoever waits for a job's end: a notice wakes, the table tells, polling stays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from uuid import UUID

_POLL_SECONDS = 2.0


class Endings:
    """Who waits in this process for which job."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self.released = False

    def release(self) -> None:
        """Answer everybody who waits as things are: the process is about to stop."""
        self.released = True
        self.wake_all()

    def wake_all(self) -> None:
        """Let everybody look: something may have ended unheard."""
        for events in self._waiting.values():
            for event in events:
                event.set()

    def heard(self, ended: str) -> None:
        """Wake those who wait for one of these jobs. ended: UUIDs with commas between them, or `*`: too many to name."""
        if ended == "*":
            self.wake_all()
        elif ended and self._waiting:
            for job_id in ended.split(","):
                for event in self._waiting.get(job_id, ()):
                    event.set()

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
