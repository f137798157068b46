"""The line: jobs that can't go to their provider now wait here, and the dispatcher lets them go on in fair turns.

A job waits because its operation is limited, or because this process' gate to it is full, closed or paused. While it waits it
is due at its deadline only. Its place stays its slot at the provider until it has left `running`.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from service.db.pool import Connection, Pool
from service.db.sql import queries
from service.engine.context import Context
from service.engine.gate import Gate
from service.engine.ledger import SUBMIT, enqueue_all
from service.engine.limits import Limits
from service.engine.nearby import after_commit
from service.jobs.lifecycle import Status
from service.jobs.model import Job
from service.points import reach

# Seconds for which a grant may be used. Later its images would come together with those of the next minute.
TURN = 5.0
MOST = 64  # jobs that one round lets go on
NOBODY = UUID(int=0)


def window_of(context: Context) -> float:
    """Return the seconds in which images are counted: a minute, and what may pass from a grant to its submit."""
    return 60.0 + TURN + context.settings.submit.window_seconds


async def join(context: Context, connection: Connection | Pool, job_id: UUID, *, version: int | None = None) -> bool:
    """Put a due job in line if it can't go to its provider now; False: nothing was done.

    version: of a job that was leased just now.
    """
    gates = context.gates
    held, closed = gates.held(), gates.closed_for(job_id)
    if not held and not closed:
        return False
    row = await queries().join_line(
        connection, id=job_id, queued=Status.QUEUED.value, held=held, turn=TURN, closed=closed, version=version
    )
    if row is None:
        return False
    reach("line.joined")
    tell = partial(gates.joined, row["provider"], row["operation"])
    # Within a transaction nobody else sees it yet.
    tell() if version is None else after_commit(tell)
    return True


async def join_at_once(context: Context, connection: Connection, job: Job) -> bool:
    """Give a new job its place in the transaction that makes it, if its operation is limited: behind nobody's hints then."""
    gate = context.gates.submits(job.provider, job.operation)
    if job.test or not gate.limited:
        return False
    row = await queries().join_line(
        connection,
        id=job.id,
        queued=Status.QUEUED.value,
        held=[gate.lane],
        turn=TURN,
        closed=[],
        version=job.version,
    )
    if row is None:
        return False
    reach("line.joined")
    # The dispatchers may all be in other processes.
    await queries().tell_of_line(connection, lane=gate.lane)
    after_commit(partial(context.gates.joined, job.provider, job.operation))
    return True


async def hand_over(connection: Connection, job: Job) -> None:
    """Put a leased job in line for the processes that offer its operation; this one does not. What it was granted is void."""
    lane = f"{job.provider}/{job.operation}"
    await queries().join_line(
        connection, id=job.id, queued=Status.QUEUED.value, held=[], turn=TURN, closed=[lane], version=job.version
    )
    await queries().tell_of_line(connection, lane=lane)
    reach("line.joined")


async def return_to_line(
    context: Context, connection: Connection, job: Job, not_before: datetime, *, refund: bool = False
) -> bool:
    """Let a job that had its turn wait again, at its old place; False: it did not come out of the line.

    refund: nothing was sent, so its images don't count.
    """
    returned = await queries().return_to_line(connection, job_id=job.id, not_before=not_before, refund=refund)
    if returned is not None:
        after_commit(partial(context.gates.joined, job.provider, job.operation))
    return returned is not None


@dataclass(frozen=True, slots=True)
class Next:
    """Somebody in line."""

    job_id: UUID
    account_id: UUID
    images: int


@dataclass(slots=True)
class Use:
    """What is used up of limits."""

    limits: Limits
    slots: int
    images: int

    def lacks(self, images: int) -> str:
        """Return what is lacking for a job with so many images: "slots", "images", or nothing."""
        most = self.limits.concurrency
        if most is not None and self.slots >= most:
            return "slots"
        most = self.limits.images_per_minute
        # One that asks for more than the limit goes when nothing else has gone for a minute.
        if most is not None and self.images and self.images + images > most:
            return "images"
        return ""

    def take(self, images: int) -> None:
        """Let one job go."""
        self.slots += 1
        self.images += images


@dataclass(slots=True)
class Lane:
    """One operation's part of the line, as the dispatcher finds it. pause: seconds that the provider has asked for."""

    gate: Gate
    use: Use
    pause: float
    turn: str
    lacks: str = ""
    # Who may go next, and how many images each account has had lately.
    ahead: list[Next] = field(default_factory=list)
    had: dict[UUID, int] = field(default_factory=dict)
    chosen: list[Next] = field(default_factory=list)
    granted: set[UUID] = field(default_factory=set)
    over: bool = False  # somebody's deadline had passed, so there may be more to look at

    @property
    def operation(self) -> str:
        """Return the operation's name."""
        return self.gate.operation

    @property
    def first(self) -> Next:
        """Return who goes next: of those who have had the fewest images the one whose turn it is."""
        return min(self.ahead, key=lambda someone: self.had[someone.account_id])

    def take(self, someone: Next, *, counted: bool) -> None:
        """Let one job go. counted: whether it is images that are short."""
        self.ahead.remove(someone)
        self.chosen.append(someone)
        self.use.take(someone.images)
        self.had[someone.account_id] += someone.images if counted else 0
        self.turn = str(someone.account_id)


@dataclass(slots=True)
class Survey:
    """What the dispatcher finds in the line to one provider. window: seconds in which images are counted."""

    provider: str
    window: float
    clock: datetime
    whole: Use
    turn: str
    lanes: list[Lane]

    def counts_images(self, lane: Lane) -> bool:
        """Whether images are limited in a lane."""
        return any(use.limits.images_per_minute is not None for use in (self.whole, lane.use))


async def survey(context: Context, connection: Connection, provider: str, operations: list[str]) -> Survey:
    """Lock a provider's lanes for this transaction and see who waits and what is used up."""
    await queries().lock_lanes(connection, provider=provider)
    window = window_of(context)
    gates = [context.gates.submits(provider, operation) for operation in operations]
    limits = [context.gates.whole(provider), *(gate.limits for gate in gates)]
    rows = {
        row["operation"]: row
        async for row in queries().survey_lanes(
            connection,
            provider=provider,
            operations=["", *operations],
            window=window,
            slots=any(limit.concurrency is not None for limit in limits),
            images=any(limit.images_per_minute is not None for limit in limits),
        )
    }
    whole = rows[""]
    lanes = [_lane(gate, rows[gate.operation]) for gate in gates]
    for lane in lanes:
        if not lane.lacks:
            await _look_ahead(connection, provider, lane)
    return Survey(provider, window, whole["clock"], _use(limits[0], whole), whole["turn"], lanes)


def _lane(gate: Gate, row: Any) -> Lane:
    lacks = "pause" if row["pause"] > 0 else "room" if gate.opens_in > 0 else ""
    return Lane(gate, _use(gate.limits, row), row["pause"], row["turn"], lacks=lacks)


def _use(limits: Limits, row: Any) -> Use:
    return Use(limits, row["slots"], row["images"])


async def _look_ahead(connection: Connection, provider: str, lane: Lane) -> None:
    """Read who is next in a lane, in fair turns; whoever's deadline has passed leaves it."""
    over = []
    rows = queries().next_in_line(
        connection,
        provider=provider,
        operation=lane.operation,
        turn=UUID(lane.turn) if lane.turn else NOBODY,
        most=MOST,
    )
    async for row in rows:
        if row["is_over"]:
            over.append(row["job_id"])
        else:
            lane.ahead.append(Next(row["job_id"], row["account_id"], row["images"]))
            lane.had[row["account_id"]] = row["had"]
    if over:
        lane.over = True
        await queries().drop_from_line(connection, ids=over)
        await enqueue_all(SUBMIT, connection, over)


def choose(found: Survey, most: int) -> None:
    """Decide who goes, `most` at most: one of each lane after the other, as long as limits and this process' gates allow it.

    Who is not first in its lane does not overtake: else a job with many images would wait for ever behind those with few.
    """
    lanes = sorted(found.lanes, key=lambda lane: (lane.operation <= found.turn, lane.operation))
    turns = deque(lane for lane in lanes if lane.ahead)
    while turns:
        lane = turns.popleft()
        someone = lane.first
        lane.lacks = lane.use.lacks(someone.images) or ("room" if most == 0 or not lane.gate.free() else "")
        if lane.lacks:
            continue
        if lacks := found.whole.lacks(someone.images):
            for waiting in [lane, *turns]:
                waiting.lacks = f"whole {lacks}"
            return
        lane.take(someone, counted=found.counts_images(lane))
        lane.gate.keep(someone.job_id, TURN)
        found.whole.take(someone.images)
        found.turn, most = lane.operation, most - 1
        if lane.ahead:
            turns.append(lane)


async def grant(connection: Connection, found: Survey) -> None:
    """Write the turns down. A job that has just moved on by itself is left out."""
    for lane in found.lanes:
        if not lane.chosen:
            continue
        rows = queries().grant_turns(
            connection,
            ids=[someone.job_id for someone in lane.chosen],
            counted=found.counts_images(lane),
            clock=found.clock,
        )
        lane.granted = {row["job_id"] async for row in rows}
        if lane.granted:
            await queries().pass_turn(connection, provider=found.provider, operation=lane.operation, turn=lane.turn)
    if any(lane.granted for lane in found.lanes):
        await queries().pass_turn(connection, provider=found.provider, operation="", turn=found.turn)


async def seconds_to_wait(connection: Connection, found: Survey, lane: Lane) -> float | None:
    """Return for how long nobody in a lane can go, as far as the clock decides that; None: only what happens does."""
    match lane.lacks:
        case "pause":
            return lane.pause
        case "room":
            return lane.gate.opens_in or None
        case "images" | "whole images":
            use, operation = (found.whole, "") if lane.lacks.startswith("whole") else (lane.use, lane.operation)
            allowed = (use.limits.images_per_minute or 0) - lane.first.images
            seconds: float | None = await queries().seconds_until_images(
                connection, provider=found.provider, operation=operation, window=found.window, allowed=max(0, allowed)
            )
            return seconds
        case _:
            return None
