"""The memory budget."""

from __future__ import annotations

import asyncio
import random
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.outputs.memory import MemoryBudget, NoRoom, Reservation


async def until_waiting(budget: MemoryBudget, count: int) -> None:
    while budget.waiting != count:
        await asyncio.sleep(0)


class Holder:
    """Holds a reservation until it is told to let go."""

    def __init__(
        self, budget: MemoryBudget, size: int, owner: str | None = None, urgent_at: float | None = None
    ) -> None:
        self.granted = asyncio.Event()
        self.owner = owner
        self._let_go = asyncio.Event()
        self._reservation: Reservation | None = None
        self.task = asyncio.ensure_future(self._hold(budget.reserve(size, owner, urgent_at)))

    async def _hold(self, reserving: AbstractAsyncContextManager[Reservation]) -> None:
        async with reserving as self._reservation:
            self.granted.set()
            await self._let_go.wait()

    @property
    def held(self) -> int:
        return self._reservation.size if self._reservation and not self.task.done() else 0

    async def let_go(self) -> None:
        self._let_go.set()
        await self.task

    def do(self, what: str) -> None:
        if what == "go":
            self._let_go.set()
        elif what == "cancel":
            self.task.cancel()
        elif self._reservation and not self.task.done() and not self.task.cancelling() and not self._let_go.is_set():
            self._reservation.shrink(self._reservation.size // 2)


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


async def test_an_owner_at_its_share_waits_beside_the_line() -> None:
    budget = MemoryBudget(10, share=5)
    first = Holder(budget, 4, "acme")
    await first.granted.wait()
    second = Holder(budget, 2, "acme")
    await until_waiting(budget, 1)
    others = [Holder(budget, 4, "beta"), Holder(budget, 2, "gamma")]
    for other in others:
        await other.granted.wait()
    assert not second.granted.is_set()
    assert budget.held == 10
    await first.let_go()
    await second.granted.wait()
    for each in (second, *others):
        await each.let_go()
    whole = Holder(budget, 9, "acme")
    await whole.granted.wait()
    await whole.let_go()
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


async def test_one_that_gave_up_a_moment_ago_is_passed_over() -> None:
    budget = MemoryBudget(10)
    async with budget.reserve(10) as reservation:
        gone, waiting = Holder(budget, 6), Holder(budget, 6)
        await until_waiting(budget, 2)
        gone.task.cancel()  # it has not heard of it yet
        reservation.shrink(4)
        await waiting.granted.wait()
        assert budget.held == 10
        await waiting.let_go()
    await asyncio.gather(gone.task, return_exceptions=True)
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


async def test_next_place_goes_to_the_owner_that_holds_least() -> None:
    budget = MemoryBudget(10)
    rich, poor = Holder(budget, 6, "rich"), Holder(budget, 2, "poor")
    await rich.granted.wait()
    other = Holder(budget, 2, "other")
    await other.granted.wait()
    more = [Holder(budget, 2, owner) for owner in ("rich", "other", "poor", "new")]
    await until_waiting(budget, 4)
    await poor.let_go()  # who holds nothing now, like the new one, and came before it
    await more[2].granted.wait()
    assert [holder.granted.is_set() for holder in more] == [False, False, True, False]
    await other.let_go()
    await more[1].granted.wait()
    assert [holder.granted.is_set() for holder in more] == [False, True, True, False]
    await more[2].let_go()
    await more[3].granted.wait()
    assert not more[0].granted.is_set()
    await rich.let_go()
    for holder in (more[0], more[1], more[3]):
        await holder.let_go()
    assert (budget.held, budget.waiting) == (0, 0)


async def test_among_owners_that_hold_the_same_the_most_urgent_is_next() -> None:
    budget = MemoryBudget(10)
    first = Holder(budget, 10)
    await first.granted.wait()
    late = [Holder(budget, 10, owner, at) for owner, at in (("a", None), ("b", 20.0), ("c", 10.0), ("d", 10.0))]
    await until_waiting(budget, 4)
    order = []
    holder = first
    for expected in ("c", "d", "b", "a"):
        await holder.let_go()
        [holder] = [each for each in late if each.granted.is_set() and not each.task.done()]
        order.append(holder.owner)
        assert holder.owner == expected
    await holder.let_go()
    assert budget.held == 0


async def test_while_the_next_one_does_not_fit_nobody_overtakes_it() -> None:
    budget = MemoryBudget(10)
    first = Holder(budget, 5, "a")
    await first.granted.wait()
    large, small = Holder(budget, 9, "b"), Holder(budget, 1, "a")
    await until_waiting(budget, 2)
    assert not small.granted.is_set()
    await first.let_go()
    await large.granted.wait()
    await small.granted.wait()
    await large.let_go()
    await small.let_go()


async def test_one_that_others_always_go_before_has_its_turn_after_a_while() -> None:
    budget = MemoryBudget(10)
    current = Holder(budget, 10, "first", 0.0)
    await current.granted.wait()
    patient = Holder(budget, 10, "patient", None)
    await until_waiting(budget, 1)
    overtaken = 0
    while not patient.granted.is_set():
        pushing = Holder(budget, 10, f"pushing {overtaken}", 0.0)
        await until_waiting(budget, 2)
        await current.let_go()
        current = pushing
        overtaken += 1
        assert overtaken <= 100
    assert not current.granted.is_set()
    await patient.let_go()
    await current.granted.wait()
    await current.let_go()
    assert (budget.held, budget.waiting) == (0, 0)


async def test_it_tells_who_watches_what_is_held_and_who_waits() -> None:
    seen: list[tuple[int, int]] = []
    budget = MemoryBudget(10, watch=lambda held, waiting: seen.append((held, waiting)))
    async with budget.reserve(8) as reservation:
        other = Holder(budget, 5)
        await until_waiting(budget, 1)
        reservation.shrink(2)
        await other.granted.wait()
    await other.let_go()
    assert seen == [(8, 0), (8, 1), (7, 0), (5, 0), (0, 0)]


_STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("come"),
            st.integers(0, 150),
            st.sampled_from([None, "a", "b", "c"]),
            st.sampled_from([None, 1.0, 2.0]),
        ),
        st.tuples(st.sampled_from(["go", "cancel", "shrink", "yield"]), st.integers(0, 30)),
    ),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(_STEPS)
def test_whatever_comes_goes_and_gives_up_the_budget_holds_and_everybody_is_served(steps: list[Any]) -> None:
    asyncio.run(_live_through(steps))


async def _live_through(steps: list[Any]) -> None:
    budget, holders = MemoryBudget(100), list[Holder]()
    for step in steps:
        if step[0] == "come":
            holders.append(Holder(budget, *step[1:]))
        elif step[0] == "yield" or not holders:
            await asyncio.sleep(0)
        else:
            holders[step[1] % len(holders)].do(step[0])
        check_held(budget, holders)
    # Nobody comes any more, and everybody who has something gives it back: then nobody is left waiting.
    for _ in range(4 * len(holders) + 4):
        for holder in holders:
            if holder.granted.is_set():
                holder.do("go")
        await asyncio.sleep(0)
        check_held(budget, holders)
    assert all(holder.task.done() for holder in holders)
    assert (budget.held, budget.waiting) == (0, 0)


def check_held(budget: MemoryBudget, holders: list[Holder]) -> None:
    """What is held fits the budget, but for one that is larger than it, and is held by those who have it."""
    sizes = [holder.held for holder in holders if holder.held]
    assert sum(sizes) <= budget.held  # some are granted that have not had their turn yet
    assert budget.held <= 100 or sizes in ([], [budget.held])


async def test_what_can_not_wait_gets_its_share_at_once_or_not_at_all() -> None:
    budget = MemoryBudget(10)
    async with budget.reserve_now(10, "a"):
        with pytest.raises(NoRoom) as full:
            async with budget.reserve_now(1, "b"):
                pass
        assert full.value.size == 1
    async with budget.reserve_now(50):  # larger than the budget, and alone
        pass
    async with budget.reserve(6) as reservation:
        large = Holder(budget, 9)
        await until_waiting(budget, 1)
        with pytest.raises(NoRoom):  # it would fit, but somebody waits
            async with budget.reserve_now(1):
                pass
        reservation.shrink(0)
        await large.let_go()
    assert (budget.held, budget.waiting) == (0, 0)
