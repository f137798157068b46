"""How many bytes of outputs a process holds at once."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Reservation:
    """A share of the budget, held until the block that reserved it ends."""

    def __init__(self, budget: MemoryBudget, size: int) -> None:
        self._budget = budget
        self.size = size

    def shrink(self, size: int) -> None:
        """Give back what is more than `size` bytes."""
        if size < self.size:
            self._budget._give_back(self.size - size)
            self.size = size


class MemoryBudget:
    """Bytes in flight per process, granted first come, first served.

    A reservation larger than the whole budget is granted when nothing else is held, so that it is late but never stuck.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.held = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def waiting(self) -> int:
        """Return how many reservations wait."""
        return len(self._waiting)

    @asynccontextmanager
    async def reserve(self, size: int) -> AsyncIterator[Reservation]:
        """Hold `size` bytes until the block ends; waits in line for them."""
        await self._take(size)
        reservation = Reservation(self, size)
        try:
            yield reservation
        finally:
            self._give_back(reservation.size)

    async def _take(self, size: int) -> None:
        if not self._waiting and self._fits(size):
            self.held += size
            return
        turn = asyncio.get_running_loop().create_future()
        entry = (size, turn)
        self._waiting.append(entry)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._give_back(size)  # granted in the very moment in which we were cancelled
            else:
                self._waiting.remove(entry)
                self._grant()
            raise

    def _fits(self, size: int) -> bool:
        return self.held == 0 or self.held + size <= self.total

    def _give_back(self, size: int) -> None:
        self.held -= size
        self._grant()

    def _grant(self) -> None:
        while self._waiting and self._fits(self._waiting[0][0]):
            size, turn = self._waiting.popleft()
            self.held += size
            turn.set_result(None)
