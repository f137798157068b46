"""The memory budget."""

from __future__ import annotations

import asyncio
import random

import pytest

from service.outputs.memory import MemoryBudget


async def until_waiting(budget: MemoryBudget, count: int) -> None:
    while budget.waiting != count:
        await asyncio.sleep(0)


class Holder:
    """Holds a reservation until it is told to let go."""

    def __init__(self, budget: MemoryBudget, size: int) -> None:
        self.granted = asyncio.Event()
        self._let_go = asyncio.Event()
        self.task = asyncio.ensure_future(self._hold(budget, size))

    async def _hold(self, budget: MemoryBudget, size: int) -> None:
        async with budget.reserve(size):
            self.granted.set()
            await self._let_go.wait()

    async def let_go(self) -> None:
        self._let_go.set()
        await self.task


async def test_reservations_are_granted_first_come_first_served() -> None:
    budget = MemoryBudget(10)
    first = Holder(budget, 8)
    await first.granted.wait()
    large = Holder(budget, 9)
    await until_waiting(budget, 1)
    small = Holder(budget, 1)  # would fit now, but came later
    await until_waiting(budget, 2)
    assert not large.granted.is_set()
    assert not small.granted.is_set()
    await first.let_go()
    await large.granted.wait()
    await small.granted.wait()
    assert budget.held == 10
    await large.let_go()
    await small.let_go()
    assert budget.held == 0


async def test_reservation_larger_than_the_budget_is_granted_alone() -> None:
    budget = MemoryBudget(10)
    first = Holder(budget, 1)
    await first.granted.wait()
    huge = Holder(budget, 50)
    await until_waiting(budget, 1)
    late = Holder(budget, 1)
    await until_waiting(budget, 2)
    await first.let_go()
    await huge.granted.wait()
    assert not late.granted.is_set()
    await huge.let_go()
    await late.granted.wait()
    await late.let_go()
    assert budget.held == 0


async def test_shrinking_lets_the_next_one_in() -> None:
    budget = MemoryBudget(10)
    async with budget.reserve(10) as reservation:
        waiting = Holder(budget, 6)
        await until_waiting(budget, 1)
        reservation.shrink(4)
        await waiting.granted.wait()
        reservation.shrink(8)  # growing back is not possible
        assert budget.held == 10
        await waiting.let_go()
    assert budget.held == 0


async def test_one_that_gives_up_waiting_makes_room_for_those_behind_it() -> None:
    budget = MemoryBudget(10)
    first = Holder(budget, 5)
    await first.granted.wait()
    large = Holder(budget, 9)
    await until_waiting(budget, 1)
    small = Holder(budget, 5)
    await until_waiting(budget, 2)
    large.task.cancel()
    await small.granted.wait()
    await first.let_go()
    await small.let_go()
    with pytest.raises(asyncio.CancelledError):
        await large.task
    assert budget.held == 0


async def test_one_cancelled_in_the_moment_of_its_grant_gives_back() -> None:
    budget = MemoryBudget(10)
    async with budget.reserve(10) as reservation:
        second = Holder(budget, 6)
        await until_waiting(budget, 1)
        reservation.shrink(0)
        assert budget.held == 6  # granted, but it has not had its turn yet
        second.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second.task
        assert not second.granted.is_set()
    assert (budget.held, budget.waiting) == (0, 0)


async def test_many_that_come_and_go_never_hold_more_than_the_budget() -> None:
    budget, dice = MemoryBudget(100), random.Random(7)

    async def come_and_go(size: int) -> None:
        async with budget.reserve(size):
            assert budget.held <= 100
            for _ in range(dice.randrange(3)):
                await asyncio.sleep(0)

    tasks = [asyncio.ensure_future(come_and_go(dice.randrange(1, 101))) for _ in range(300)]
    await asyncio.sleep(0)
    for task in dice.sample(tasks, 60):
        task.cancel()
    done = await asyncio.gather(*tasks, return_exceptions=True)
    assert not [each for each in done if isinstance(each, AssertionError)]
    assert (budget.held, budget.waiting) == (0, 0)
