"""The dispatcher: lets jobs in line go on when limits and this process' gates allow it.

One runs in every process that runs workers, and each lets jobs go through its own gates only. What is held across all
processes is decided in one transaction per provider that locks the provider's lanes. It sleeps while nobody waits; the
heartbeat tells of those whom another process has put in line, or has left behind.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from uuid import UUID

import structlog

from service import metrics
from service.db.pool import Connection
from service.db.sql import queries
from service.engine.context import Context
from service.engine.gate import LATER
from service.engine.ledger import SUBMIT, enqueue_all
from service.engine.line import MOST, Lane, Survey, choose, grant, seconds_to_wait, survey
from service.points import reach

log = structlog.get_logger()

_BREATH = 0.02  # seconds between two rounds, so that what happens together is seen together
_LOOK_AGAIN = 3.0  # seconds after which a lane is looked at again, should nobody have told of room or slots
_MISSED = 0.5  # seconds after which a lane is looked at again where nobody could be granted a turn after all
_COUNT = 5.0  # seconds between two counts for the metrics


class Dispatcher:
    """The dispatcher of one process."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._stopping = False
        self._counted_at = 0.0
        # Seconds until something may change by itself; None while nobody waits.
        self._pause: float | None = None

    def stop(self) -> None:
        """Let nobody go any more."""
        self._stopping = True
        self._context.gates.bell.set()

    async def run(self) -> None:
        """Let jobs go until `stop` is called."""
        bell = self._context.gates.bell
        # After a failure in the middle of a round nobody knows what it has seen.
        bell.set()
        while not self._stopping:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pause):
                    await bell.wait()
            bell.clear()
            if not self._stopping:
                await self.round()
                await asyncio.sleep(_BREATH)

    async def round(self) -> None:
        """Look at every lane where anybody waits, and is not known to wait for what has not happened yet."""
        waiting: dict[str, list[str]] = {}
        anybody = False
        async for row in queries().waiting_lanes(self._context.pool):
            anybody = True
            # Of what only other processes offer we know neither the limits nor the way.
            if self._context.knows(row["provider"], row["operation"]):
                waiting.setdefault(row["provider"], []).append(row["operation"])
        self._note(waiting)
        pauses = []
        for provider, operations in waiting.items():
            lanes = [self._context.gates.submits(provider, operation) for operation in operations]
            if not all(lane.is_blocked for lane in lanes):
                await self._dispatch(provider, operations)
            pauses += [lane.blocked_for for lane in lanes]
        self._pause = min(pauses, default=None)
        await self._count(at_once=not anybody)

    def _note(self, waiting: dict[str, list[str]]) -> None:
        for gate in self._context.gates.lanes():
            gate.waiting = gate.operation in waiting.get(gate.provider, ())
            if not gate.waiting:
                gate.unblock()

    async def _dispatch(self, provider: str, operations: list[str]) -> None:
        context, room = self._context, self._context.nearby.room(SUBMIT)
        found: Survey | None = None
        granted: list[UUID] = []
        try:
            async with context.transaction() as connection:
                found = await survey(context, connection, provider, operations)
                choose(found, MOST if room is None else min(MOST, room))
                await grant(connection, found)
                for lane in found.lanes:
                    await self._block(connection, found, lane)
                going = [job_id for lane in found.lanes for job_id in lane.granted]
                await enqueue_all(SUBMIT, connection, going)
                if going:
                    reach("line.granted_before_commit")
            granted = going
        finally:
            if found is not None:
                self._let_go(found, granted)

    async def _block(self, connection: Connection, found: Survey, lane: Lane) -> None:
        """Note what a lane waits for, so that it is left in peace until then."""
        if lane.granted or (lane.over and not lane.ahead):
            lane.gate.unblock()  # there may be more, to be looked at next
        elif lane.lacks:
            seconds = await seconds_to_wait(connection, found, lane)
            # What only the clock can bring is not waited for otherwise.
            lane.gate.block(*((_LOOK_AGAIN, lane.lacks) if seconds is None else (seconds, "time")))
        elif lane.chosen:
            lane.gate.block(_MISSED, "luck")
        else:
            # Nobody there may go yet, but whoever joins may.
            seconds = await queries().seconds_until_later(connection, provider=found.provider, operation=lane.operation)
            lane.gate.block(_LOOK_AGAIN if seconds is None else seconds, LATER)

    def _let_go(self, found: Survey, granted: list[UUID]) -> None:
        """Keep places for those alone who have been granted one."""
        for lane in found.lanes:
            for someone in lane.chosen:
                if someone.job_id not in granted:
                    lane.gate.forget(someone.job_id)
            if lane.granted and granted:
                metrics.GRANTS.labels(found.provider, lane.operation).inc(len(lane.granted))
        if granted:
            reach("line.granted")
            log.info("line.granted", provider=found.provider, count=len(granted))

    async def _count(self, *, at_once: bool) -> None:
        """Bring the metric up to date, not too often: it counts the whole line."""
        if time.monotonic() - self._counted_at < _COUNT and not at_once:
            return
        self._counted_at = time.monotonic()
        rows = queries().count_line(self._context.pool)
        counts = {(row["provider"], row["operation"]): row["waiting"] async for row in rows}
        for gate in self._context.gates.lanes():
            name = gate.provider, gate.operation
            metrics.LINE_WAITING.labels(*name).set(counts.get(name, 0))
