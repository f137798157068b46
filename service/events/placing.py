"""Giving events their places in the feed, right after they are committed.

A process calls for its own events, and what is committed while a call is under way is one more call: so batches form by
themselves. A call places whatever anybody has committed, so events of a process that has died meanwhile wait for the next
call of another, or for a heartbeat that finds them.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from uuid import UUID

import structlog

from service import metrics
from service.db.pool import DATABASE_AWAY, Pool
from service.db.sql import queries
from service.points import reach

log = structlog.get_logger()

MOST = 500  # events that one call places
_BREATH = 0.003  # seconds between two calls, so that what happens together is placed together
_PAUSE, _LONGEST_PAUSE = 0.25, 5.0  # seconds until the next try while the database is away
_STOP_SECONDS = 5.0


class Placer:
    """Places events for one process, one call at a time."""

    def __init__(self, pool: Pool, most: int = MOST) -> None:
        self._pool = pool
        self._most = most
        self._bell = asyncio.Event()
        self._turn = asyncio.Lock()
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to wait for `kick`."""
        self._task = asyncio.create_task(self._run(), name="placer")

    def kick(self) -> None:
        """Say that events were committed; returns at once."""
        self._bell.set()

    async def stop(self) -> None:
        """Place what was committed here, if the database is there, and stop."""
        self._stopping.set()
        self._bell.set()
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=_STOP_SECONDS)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def place(self) -> int:
        """Place everything that is committed now; returns how many. Raises what asyncpg raises without a database."""
        count = 0
        async with self._turn:
            while True:
                placed: int = await queries().place_events(self._pool, most=self._most)
                metrics.EVENTS_PLACED.inc(placed)
                count += placed
                if placed < self._most:
                    return count

    async def _run(self) -> None:
        pause = _PAUSE
        while not self._stopping.is_set():
            await self._bell.wait()
            self._bell.clear()
            reach("events.placing")
            try:
                await self.place()
            except Exception as error:  # whatever it is, events that nobody places reach nobody
                say = log.warning if isinstance(error, DATABASE_AWAY) else log.exception
                say("events.not_placed", reason=type(error).__name__)
                self._bell.set()
                await self._pause(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
            else:
                reach("events.placed")
                pause = _PAUSE
                await asyncio.sleep(_BREATH)

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()


def note_oldest(event_id: UUID | None) -> None:
    """Show how long the oldest event without a place has waited. event_id: its UUIDv7, which tells when it was written."""
    metrics.EVENTS_UNPLACED_AGE.set(age_of(event_id))


def age_of(event_id: UUID | None) -> float:
    """Return the seconds since an event was written, 0 if there is none. event_id: its UUIDv7, which tells when that was."""
    return 0.0 if event_id is None else max(0.0, time.time() - (event_id.int >> 80) / 1000)
