"""Turns: so many at a time, so many of one account, and accounts one after the other."""

from __future__ import annotations

import asyncio
from uuid import UUID

from service.events.turns import Turns

BUSY, QUIET = UUID(int=1), UUID(int=2)


class Work:
    """Somebody who wants a turn, and ends it when told to."""

    def __init__(self, turns: Turns, account_id: UUID) -> None:
        self.begun, self.end = asyncio.Event(), asyncio.Event()
        self.account_id = account_id
        self.task = asyncio.create_task(self._run(turns))

    async def _run(self, turns: Turns) -> None:
        async with turns.turn(self.account_id):
            self.begun.set()
            await self.end.wait()

    async def finish(self) -> None:
        """End it, and let whoever comes next begin."""
        self.end.set()
        await self.task
        await settle()


async def settle() -> None:
    """Let everybody go on who can."""
    for _ in range(10):
        await asyncio.sleep(0)


def begun(works: list[Work]) -> int:
    return sum(each.begun.is_set() for each in works)


async def test_an_account_has_half_of_the_turns_however_much_it_wants() -> None:
    turns = Turns(4, 2)
    busy = [Work(turns, BUSY) for _ in range(300)]
    await settle()
    assert begun(busy) == 2
    quiet = [Work(turns, QUIET) for _ in range(3)]
    await settle()
    assert (begun(busy), begun(quiet)) == (2, 2)
    await busy[0].finish()
    assert (begun(busy), begun(quiet)) == (3, 2)
    await quiet[0].finish()
    assert (begun(busy), begun(quiet)) == (3, 3)
    for each in [*busy, *quiet]:
        await each.finish()


async def test_accounts_that_wait_take_turns() -> None:
    turns = Turns(1, 1)
    busy = [Work(turns, BUSY) for _ in range(10)]
    await settle()
    quiet = [Work(turns, QUIET) for _ in range(2)]
    order = []
    for _ in range(12):
        await settle()
        [now] = [each for each in busy + quiet if each.begun.is_set() and not each.task.done()]
        order.append(now.account_id)
        await now.finish()
    assert order == [BUSY, BUSY, QUIET, BUSY, QUIET, *[BUSY] * 7]


async def test_one_who_gives_up_leaves_no_turn_behind() -> None:
    turns = Turns(1, 1)
    async with turns.turn(BUSY):
        waiting, granted, last = (Work(turns, BUSY) for _ in range(3))
        await settle()
        waiting.task.cancel()
        await settle()
    # Its turn is granted by now, and it does not know yet.
    granted.task.cancel()
    await settle()
    assert not granted.begun.is_set()
    assert last.begun.is_set()
    await last.finish()
    assert (turns._waiting, turns._free, +turns._busy) == ({}, 1, {})
