"""A gate: how many calls to an operation are under way, until when its provider has asked us to wait, and whether it is down.

Every call is a visit: it takes a place before its intent is committed, and gives it back however it ends.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self
from uuid import UUID

from service.engine.breaker import Breaker, Went
from service.engine.limits import Limits
from service.net.calls import AnswerLostError, NothingTriedError, NotSentError

LOOK_UP = "*look-ups"  # in the place of an operation's name, and none that an operation can have
LONGEST_TOLD = 3600.0  # seconds
LONGEST_PAUSE = 60.0  # seconds, when nothing was told
_MOST_PARKED = 10_000
# What is lacking until a call or a job of this process ends; and what only keeps those back who wait already.
HAPPENS_HERE = {"room", "slots", "whole slots"}
LATER = "later"

Clock = Callable[[], float]
Parked = tuple[str, UUID]  # a task, and its job


@dataclass(slots=True, eq=False)
class Room:
    """How many calls may be under way at a time, through one gate or several."""

    size: int
    is_open: Callable[[], bool] = lambda: True
    # Whether jobs that are being decided on may turn out to be for this room.
    doubted: bool = True
    taken: int = 0
    # Places kept for jobs that the dispatcher has granted, until they come or until (on the clock) it is too late.
    promises: dict[UUID, tuple[Gate, float]] = field(default_factory=dict)


class Hall:
    """What all gates of one process share. clock: seconds, monotonic; tests move it."""

    def __init__(self) -> None:
        self.clock: Clock = time.monotonic
        # Rung when the dispatcher may find something to do.
        self.bell = asyncio.Event()
        # Jobs that are being looked at, whose lane is not known yet: any room may be theirs.
        self.undecided = 0
        self.gates: dict[tuple[str, str], Gate] = {}

    def now(self) -> float:
        """Return the time on the clock."""
        return self.clock()

    def ring(self, gates: Iterable[Gate] | None = None) -> None:
        """Wake the dispatcher for those who wait for what may just have happened here, and whose gate lets them go."""
        for gate in self.gates.values() if gates is None else gates:
            if gate.waits_here and gate.free():
                gate.unblock()
                self.bell.set()


class Visit:
    """The place of one call; a context manager. Tell it how the call went, or it counts as not tried."""

    def __init__(self, gate: Gate | None, *, counts: bool = True) -> None:
        self._gate = gate
        self._counts = counts
        self._went, self._reason = Went.UNTRIED, ""
        self._tries = gate is not None and gate.begin()

    def answered(self, status: int) -> None:
        """The provider has answered, with this HTTP status."""
        self._went, self._reason = (Went.BADLY, f"HTTP {status}") if status >= 500 else (Went.WELL, "")

    def failed(self, error: NotSentError | AnswerLostError) -> None:
        """There was no whole answer."""
        self._went = Went.UNTRIED if isinstance(error, NothingTriedError) else Went.BADLY
        self._reason = str(error)

    def refused(self, retry_after: float | None) -> None:
        """The provider has said "later" (429), and maybe when."""
        if self._gate is not None:
            self._gate.pause(retry_after)

    def leave(self) -> None:
        """Give the place back; once is enough."""
        gate, self._gate = self._gate, None
        if gate is not None:
            # A test job says nothing about paid ones, unless it was the one that tried.
            went = self._went if self._counts or self._tries else Went.UNTRIED
            gate.end(went, self._reason, tried=self._tries)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.leave()


class Gate:
    """The way to one operation of a provider, or to its read-backs.

    limits: the operation's own, over all processes. limited: whether these or the whole provider's ask for a grant.
    waiting: whether anybody is known to wait in line for it. longest_told: seconds for which the provider is obeyed at most.
    """

    def __init__(
        self, hall: Hall, breaker: Breaker, provider: str, operation: str, room: Room, limits: Limits, whole: Limits
    ) -> None:
        self.provider, self.operation, self.limits = provider, operation, limits
        self.limited = limits.any or whole.any
        self.room = room
        self.waiting = False
        self.longest_told = LONGEST_TOLD
        # What the dispatcher found lacking for those who wait.
        self.lacks = ""
        self._hall = hall
        self._breaker = breaker
        self._paused_until = self._blocked_until = 0.0
        self._refusals = 0
        self._parked: dict[Parked, None] = {}

    @property
    def lane(self) -> str:
        """Return the lane's name, as the queries spell it."""
        return f"{self.provider}/{self.operation}"

    @property
    def trouble(self) -> str:
        """Return why the provider is left alone; empty while it is not."""
        return self._breaker.reason if not self._breaker.closed else ""

    @property
    def opens_in(self) -> float:
        """Return the seconds for which the clock alone keeps it closed, 0 when it does not."""
        return max(0.0, self._paused_until - self._hall.now(), self._breaker.wait)

    def free(self, own: int = 0) -> int:
        """Return how many calls may begin now. own: the caller's share in what is undecided."""
        if self.opens_in > 0 or not self.room.is_open():
            return 0
        doubt = self._hall.undecided - own if self.room.doubted else 0
        left = self.room.size - self.room.taken - len(self._kept()) - doubt
        if not self._breaker.closed:
            left = min(left, 0 if self._breaker.trying or self._has_promised() else 1 - doubt)
        return max(0, left)

    def is_closed_for(self, job_id: UUID) -> bool:
        """Whether a job that is being decided on must wait; not if its place is kept and the gate has not closed since."""
        kept = self._kept().get(job_id)
        if kept is not None and kept[0] is self:
            return self.opens_in > 0 or not self.room.is_open()
        return self.free(own=1) == 0

    def enter(self, *, counts: bool = True) -> Visit:
        """Take a place. counts: whether the breaker counts its failure."""
        return Visit(self, counts=counts)

    def try_enter(self) -> Visit | None:
        """Take a place if there is one."""
        return self.enter() if self.free() else None

    def forget(self, job_id: UUID) -> None:
        """Keep no place any more."""
        self.room.promises.pop(job_id, None)

    def keep(self, job_id: UUID, seconds: float) -> None:
        """Keep a place for a job that is about to come."""
        self.room.promises[job_id] = self, self._hall.now() + seconds

    def begin(self) -> bool:
        """Count a call in; for visits."""
        self.room.taken += 1
        return self._breaker.begin()

    def end(self, went: Went, reason: str, *, tried: bool) -> None:
        """Count a call out; for visits."""
        self.room.taken -= 1
        was_closed = self._breaker.closed
        self._breaker.end(went, reason, tried=tried)
        if went is Went.WELL and self._paused_until <= self._hall.now():
            self._refusals = 0
        if self._breaker.closed and not was_closed and self.waiting:
            self.unblock()
            self._hall.bell.set()
        self._hall.ring(gate for gate in self._hall.gates.values() if gate.room is self.room)

    def pause(self, told: float | None) -> None:
        """Let nobody go for the told seconds, or else for 1 second and longer each time."""
        now = self._hall.now()
        if self._paused_until <= now:  # else it is one of several that were under way together
            self._refusals += 1
        own = 2.0 ** min(self._refusals - 1, 30)
        # Obeyed, but a provider that says "at once" again and again does not get a loop of submits.
        pause = min(LONGEST_PAUSE, own) if told is None else max(min(told, self.longest_told), min(10.0, own / 2))
        self._paused_until = max(self._paused_until, now + pause)

    @property
    def is_blocked(self) -> bool:
        """Whether the dispatcher need not look at it: it knows what this lane waits for."""
        return self.blocked_for > 0

    @property
    def waits_here(self) -> bool:
        """Whether something that happens in this process may open the lane before its time."""
        return self.is_blocked and self.lacks in HAPPENS_HERE

    @property
    def blocked_for(self) -> float:
        """Return the seconds after which the dispatcher is to look at it again."""
        return max(0.0, self._blocked_until - self._hall.now())

    def block(self, seconds: float, lacks: str) -> None:
        """Note that nobody in this lane can go for so long, for what is lacking, unless that comes earlier."""
        self._blocked_until, self.lacks = self._hall.now() + seconds, lacks

    def unblock(self) -> None:
        """Forget what it waited for."""
        self._blocked_until, self.lacks = 0.0, ""

    @property
    def is_full(self) -> bool:
        """Whether only room is lacking."""
        return self.opens_in == 0 and self._breaker.closed and self.free() == 0

    def park(self, task: str, job_id: UUID) -> None:
        """Keep a hint in mind until a place is free; it holds no place itself, and the sweep finds it when it gets lost."""
        if len(self._parked) < _MOST_PARKED:
            self._parked[task, job_id] = None

    def next_parked(self) -> Parked | None:
        """Take the oldest hint that may go now."""
        if not self._parked or self.is_full:
            return None
        parked = next(iter(self._parked))
        del self._parked[parked]
        return parked

    def drop_parked(self) -> None:
        """Forget every hint."""
        self._parked.clear()

    def _kept(self) -> dict[UUID, tuple[Gate, float]]:
        promises, now = self.room.promises, self._hall.now()
        for job_id in [job_id for job_id, (_, until) in promises.items() if until <= now]:
            del promises[job_id]
        return promises

    def _has_promised(self) -> bool:
        return any(gate is self for gate, _ in self.room.promises.values())
