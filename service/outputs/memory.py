"""How many bytes of outputs a process holds at once, and who gets the next ones."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass

_OVERTAKEN = 32  # times that one who waits may be overtaken by those who came later


# Files that are being opened at a time: as many as a process copies by default. Each has half a MiB of buffers.
_OPENINGS = 64


class NoRoom(Exception):  # noqa: N818 - reads as what happened
    """There is no memory now. size: how much was wanted."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.size = size


class Reservation:
    """A share of the budget, held until the block that reserved it ends."""

    def __init__(self, budget: MemoryBudget, size: int, owner: Hashable) -> None:
        self._budget = budget
        self._owner = owner
        self.size = size

    def shrink(self, size: int) -> None:
        """Give back what is more than `size` bytes."""
        if size < self.size:
            self._budget._give_back(self.size - size, self._owner)
            self.size = size


@dataclass(eq=False, slots=True)
class _Waiter:
    """One who waits. came: counts those who waited before."""

    size: int
    owner: Hashable
    urgent_at: float
    came: int
    turn: asyncio.Future[None]
    overtaken: int = 0


class MemoryBudget:
    """Bytes in flight per process.

    The next place goes to the waiter whose owner holds least, among those to the one that is most urgent, then to who
    came first. While it does not fit, nobody else gets one, so that a large reservation is not kept waiting by small
    ones; one larger than the whole budget is granted when nothing else is held. Who was overtaken 32 times comes next,
    whatever the others hold: so everybody has a turn, as long as whoever holds something gives it back some time. To
    that end nobody may wait for a reservation while holding another one.

    An owner that would hold more than its share waits beside the line, and keeps nobody else.
    """

    def __init__(
        self, total: int, *, share: int | None = None, watch: Callable[[int, int], None] | None = None
    ) -> None:
        """Make a budget of `total` bytes.

        share: the most that one owner holds, in more than one reservation; None: all. watch: told the bytes held and the
        number of waiters whenever they change.
        """
        self.openings = asyncio.Semaphore(_OPENINGS)
        self.total = total
        self._share = total if share is None else share
        self.held = 0
        self._held_by: Counter[Hashable] = Counter()
        self._waiting: list[_Waiter] = []
        self._came = 0
        self._watch = watch

    @property
    def waiting(self) -> int:
        """Return how many reservations wait."""
        return len(self._waiting)

    @asynccontextmanager
    async def reserve(
        self, size: int, owner: Hashable = None, urgent_at: float | None = None
    ) -> AsyncIterator[Reservation]:
        """Hold `size` bytes until the block ends; waits for its turn.

        owner: whose bytes they are; None is nobody, who never holds anything. urgent_at: until when they are of use
        (any clock, the same for all); None is later than all others.
        """
        await self._take(size, owner, float("inf") if urgent_at is None else urgent_at)
        reservation = Reservation(self, size, owner)
        try:
            yield reservation
        finally:
            self._give_back(reservation.size, owner)

    @asynccontextmanager
    async def reserve_now(self, size: int, owner: Hashable = None) -> AsyncIterator[Reservation]:
        """Hold `size` bytes until the block ends, or raise NoRoom where `reserve` would have to wait."""
        if self._waiting or not self._fits(size):
            raise NoRoom(size)
        async with self.reserve(size, owner) as reservation:
            yield reservation

    async def _take(self, size: int, owner: Hashable, urgent_at: float) -> None:
        waiter = _Waiter(size, owner, urgent_at, self._came, asyncio.get_running_loop().create_future())
        self._came += 1
        self._waiting.append(waiter)
        self._grant()
        if waiter.turn.done():
            return
        try:
            await waiter.turn
        except asyncio.CancelledError:
            if waiter.turn.done() and not waiter.turn.cancelled():
                self._give_back(size, owner)  # granted in the very moment in which we were cancelled
            else:
                self._grant()  # which strikes out who has given up
            raise

    def _give_back(self, size: int, owner: Hashable) -> None:
        self._count(-size, owner)
        self._grant()

    def _count(self, size: int, owner: Hashable) -> None:
        self.held += size
        if owner is None:
            return
        self._held_by[owner] += size
        if not self._held_by[owner]:
            del self._held_by[owner]

    def _grant(self) -> None:
        self._waiting = [waiter for waiter in self._waiting if not waiter.turn.cancelled()]
        while self._waiting:
            chosen = self._choose()
            if chosen is None or not self._fits(chosen.size):
                break
            self._waiting.remove(chosen)
            for waiter in self._waiting:
                waiter.overtaken += waiter.came < chosen.came
            self._count(chosen.size, chosen.owner)
            chosen.turn.set_result(None)
        if self._watch is not None:
            self._watch(self.held, len(self._waiting))

    def _fits(self, size: int) -> bool:
        return not self.held or self.held + size <= self.total

    def _choose(self) -> _Waiter | None:
        # They stand in the order in which they came, of which `min` takes the first.
        in_line = [waiter for waiter in self._waiting if self._is_in_line(waiter)]
        late = next((waiter for waiter in in_line if waiter.overtaken >= _OVERTAKEN), None)
        return late or min(in_line, key=lambda waiter: (self._held_by[waiter.owner], waiter.urgent_at), default=None)

    def _is_in_line(self, waiter: _Waiter) -> bool:
        held = self._held_by[waiter.owner]
        return not held or held + waiter.size <= self._share
