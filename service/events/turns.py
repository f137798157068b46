"""Turns at something that few may do at a time: so many for one account, and accounts one after the other."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID


class Turns:
    """`most` turns at a time, of which one account has `most_of_one`: however many of it wait, others soon have theirs."""

    def __init__(self, most: int, most_of_one: int) -> None:
        self._free = most
        self._most_of_one = most_of_one
        self._busy: Counter[UUID] = Counter()
        # Whose turn it is next stands in front.
        self._waiting: dict[UUID, deque[asyncio.Future[None]]] = {}

    @asynccontextmanager
    async def turn(self, account_id: UUID) -> AsyncIterator[None]:
        """Wait for a turn, and have it."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(account_id, deque()).append(turn)
        self._grant()
        try:
            await turn
            yield
        finally:
            if turn.cancelled():
                self._forget(account_id, turn)
            else:  # also when it was granted to one who was canceled in the same moment
                self._end(account_id)

    def _grant(self) -> None:
        while self._free:
            account_id = next((each for each in self._waiting if self._busy[each] < self._most_of_one), None)
            if account_id is None:
                return
            waiting = self._waiting.pop(account_id)
            turn = waiting.popleft()
            if waiting:
                self._waiting[account_id] = waiting  # behind everybody else
            if not turn.done():
                self._free -= 1
                self._busy[account_id] += 1
                turn.set_result(None)

    def _end(self, account_id: UUID) -> None:
        self._free += 1
        self._busy[account_id] -= 1
        if not self._busy[account_id]:
            del self._busy[account_id]
        self._grant()

    def _forget(self, account_id: UUID, turn: asyncio.Future[None]) -> None:
        waiting = self._waiting.get(account_id, deque())
        if turn in waiting:
            waiting.remove(turn)
            if not waiting:
                del self._waiting[account_id]
