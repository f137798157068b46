"""Every endpoint for itself: its breaker, its rate, its concurrency; and what becomes of one that only fails."""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import pairwise
from typing import Any
from uuid import UUID

from service.events.letter import Reply
from service.ids import show
from tests.events.deliveries import Ground
from tests.receiver import Receiver
from tests.world import until


async def _until(ground: Ground, sub: UUID, is_so: Any) -> Any:
    async def look() -> Any:
        found = await ground.subscription(sub)
        return found if is_so(found) else None

    return await until(look)


async def test_failures_in_a_row_open_the_breaker_and_one_alone_tries_then(ground: Ground, receiver: Receiver) -> None:
    sub = await ground.subscribe(receiver.plan("/dead", then=500))
    async with ground.delivering(breaker_failures=3, breaker_first_seconds=1000, breaker_max_seconds=9000):
        await ground.events(20)
        found = await _until(ground, sub, lambda s: s.open_until is not None)
        came = len(receiver.arrivals)
        assert 3 <= came <= 16, "those that were under way together"
        assert found.failures == 3, "and they are one failure"
        first = found.open_until - found.failing_since
        assert 990 < first.total_seconds() < 1010
        await ground.until_count(20 - came, "worker_id IS NULL AND attempts = 0")
        # The pause is over, and the endpoint is as bad as before.
        await ground.sql("UPDATE subscriptions SET open_until = now()")
        await ground.make_due()
        again = await _until(ground, sub, lambda s: s.failures == 4)
        assert len(receiver.arrivals) == came + 1
        assert (again.open_until - again.failing_since).total_seconds() > 1990, "it doubles"
        # And now it is well.
        receiver.plan("/dead", then=200)
        await ground.sql("UPDATE subscriptions SET open_until = now()")
        await ground.make_due()
        await ground.until_ended()
    well = await ground.subscription(sub)
    assert (well.failures, well.failing_since, well.open_until) == (0, None, None)


async def test_who_is_overloaded_is_left_alone_for_as_long_as_it_asks(ground: Ground, receiver: Receiver) -> None:
    sub = await ground.subscribe(receiver.plan("/busy", then=429, headers={"Retry-After": "50"}), rate_limit=1)
    async with ground.delivering(breaker_first_seconds=1000, breaker_max_seconds=1000):
        await ground.events(3)
        found = await _until(ground, sub, lambda s: s.open_until is not None)
        assert 45 < (found.open_until - found.failing_since).total_seconds() <= 51
        await ground.sql("UPDATE subscriptions SET next_at = NULL, look_at = now()")
        ground.kick()
        await ground.subscribe(receiver.url + "/other")
        await ground.events(1)
        await receiver.until(1, "/other")
    assert len(receiver.of("/busy")) == 1


async def test_a_rate_holds_over_processes(ground: Ground, receiver: Receiver) -> None:
    await ground.subscribe(receiver.url + "/hooks", rate_limit=20)
    async with ground.delivering(), ground.delivering(), ground.delivering():
        await ground.events(30)
        await ground.until_ended()
    # By the database's own clock, which is what the pace is kept by; the network may bring two closer together.
    rows = await ground.sql("SELECT started_at FROM delivery_attempts ORDER BY started_at")
    times = [row["started_at"].timestamp() for row in rows]
    assert len(times) == 30
    assert times[-1] - times[0] >= 29 / 20 * 0.9
    assert all(later - first >= 0.9 for first, later in zip(times, times[20:], strict=False)), "20 in any second"


async def test_no_more_than_so_many_at_a_time_over_processes(ground: Ground, receiver: Receiver) -> None:
    await ground.subscribe(receiver.plan("/hangs", hang=True))
    await ground.subscribe(receiver.url + "/well")
    given = {"endpoint_concurrency": 3, "timeout_seconds": 60}
    async with ground.delivering(**given), ground.delivering(**given):
        for n in range(1, 6):
            # Each round is a claim of either, and each would have room for more.
            await ground.events(10)
            await receiver.until(10 * n, "/well")
        assert len(receiver.of("/hangs")) == 3
        receiver.plan("/hangs")
        receiver.release()
        await ground.until_ended()
    assert Counter(each.path for each in receiver.arrivals if each.status == 200)["/hangs"] >= 47


async def test_a_process_has_no_more_under_way_than_it_may(ground: Ground, receiver: Receiver) -> None:
    for n in range(10):
        await ground.subscribe(receiver.plan(f"/{n}", seconds=0.01))
    async with ground.delivering(concurrency=4):
        await ground.events(4)
        await ground.until_ended()
    assert receiver.most_open <= 4
    assert len(receiver.arrivals) == 40


async def test_one_that_hangs_and_one_that_refuses_among_100_cost_the_others_nothing(
    ground: Ground, receiver: Receiver
) -> None:
    await ground.subscribe(receiver.plan("/hangs", hang=True))
    await ground.subscribe("http://127.0.0.1:9/refuses")
    for n in range(98):
        await ground.subscribe(f"{receiver.url}/{n}")
    # Both have a backlog that would fill the process many times over, and it came first.
    await ground.sql(
        "UPDATE subscriptions SET disabled_at = now(), disabled_reason = 'asked' WHERE url !~ 'hangs|refuses'"
    )
    await ground.events(300)
    await ground.sql("UPDATE subscriptions SET disabled_at = NULL, disabled_reason = NULL")
    async with ground.delivering(timeout_seconds=60, concurrency=32, breaker_failures=5, retry_schedule=[100]):
        await receiver.until(1, "/hangs")
        await ground.events(5)
        await ground.until_count(5 * 98, "status = 'delivered'")
        # The others have everything while the first ones of the backlog hang.
        assert 1 <= receiver.open == len(receiver.of("/hangs")) <= 8, "a part of the room, and not more"
        assert Counter(each.path for each in receiver.arrivals if each.path != "/hangs") == {
            f"/{n}": 5 for n in range(98)
        }
        receiver.plan("/hangs", then=500)
        receiver.release()


async def test_many_that_hang_leave_room_for_the_others(ground: Ground, receiver: Receiver) -> None:
    for n in range(20):
        await ground.subscribe(receiver.plan(f"/hangs/{n}", hang=True))
    await ground.events(30)
    async with ground.delivering(timeout_seconds=60, concurrency=64):
        await receiver.until(20)
        await ground.subscribe(receiver.url + "/well")
        await ground.events(20)
        await receiver.until(20, "/well")
        assert receiver.open < 64
        receiver.release()


async def test_a_fifo_sink_gets_a_jobs_events_one_after_another(ground: Ground, receiver: Receiver) -> None:
    """Through the webhook's channel: whose deliveries go in order is decided where they are claimed."""
    await ground.subscribe(None, sink={"type": "sqs", "fifo": True}, signing=None)
    order: list[tuple[str, int]] = []
    fail_first = {2}

    class Queue:
        async def send(self, _subscription: Any, letter: Any) -> Any:
            await asyncio.sleep(0)
            if letter.sequence in fail_first and letter.attempt == 1:
                return Reply("failed", status=500, error="answered 500")
            order.append((letter.subject, letter.sequence))
            return Reply("delivered")

    jobs = [await ground.job() for _ in range(3)]
    for job in jobs:
        await ground.write(job, 1, 2, 3, 4)
    async with ground.delivering(channels={"sink": Queue()}), ground.delivering(channels={"sink": Queue()}):
        await ground.write(jobs[0], 5, 6)
        await ground.until_ended()
    for job in jobs:
        sequences = [sequence for subject, sequence in order if subject == show("job", job)]
        assert all(b == a + 1 for a, b in pairwise(sequences)), sequences
    assert len(order) == 14


async def test_one_that_only_fails_is_warned_of_once(ground: Ground, receiver: Receiver) -> None:
    sub = await ground.subscribe(receiver.plan("/dead", then=500))
    async with ground.delivering(retry_schedule=[0.01] * 20):
        await ground.sql("UPDATE subscriptions SET failing_since = now() - interval '25 hours'")
        await ground.events(2)
        await ground.until_ended()
    events = [each for each in await ground.account_events() if each["type"] == "subscription.failing"]
    assert len(events) == 1
    assert (events[0]["subject"], events[0]["subscription_id"]) == (show("sub", sub), sub)
    assert events[0]["data"]["subscription"]["status"] == "enabled"
    assert "url" not in events[0]["data"]["subscription"]


async def test_one_that_only_fails_for_days_is_disabled_and_told_of(ground: Ground, receiver: Receiver) -> None:
    sub = await ground.subscribe(receiver.plan("/dead", then=500), rate_limit=1)
    await ground.subscribe(receiver.url + "/ops", event_types=["subscription.disabled"])
    async with ground.delivering():
        await ground.sql(
            "UPDATE subscriptions SET failing_since = now() - interval '6 days', warned_at = now() - interval '25 hours'"
            " WHERE id = $1",
            sub,
        )
        await ground.events(4)
        [arrival] = await receiver.until(1, "/ops")
        await ground.until_ended()
    assert arrival.event["data"]["subscription"]["disabled_reason"] == "failing"
    assert (await ground.subscription(sub)).disabled_reason == "failing"
    rows = await ground.sql("SELECT status, reason FROM deliveries WHERE subscription_id = $1", sub)
    assert [(row["status"], row["reason"]) for row in rows] == [("canceled", "failing")] * 4
    assert len(receiver.of("/dead")) == 1


async def test_a_success_ends_a_long_failing(ground: Ground, receiver: Receiver) -> None:
    sub = await ground.subscribe(receiver.url + "/well")
    await ground.sql(
        "UPDATE subscriptions SET failing_since = now() - interval '6 days', failures = 9, warned_at = now()"
    )
    async with ground.delivering():
        await ground.events(1)
        await ground.until_ended()
    found = await ground.subscription(sub)
    assert (found.failing_since, found.failures, found.warned_at, found.disabled_at) == (None, 0, None, None)


async def test_what_waits_for_a_subscription_that_was_disabled_meanwhile_is_given_up(
    ground: Ground, receiver: Receiver
) -> None:
    """An event's transaction that began before the subscription was disabled leaves a delivery behind."""
    await ground.subscribe(receiver.url + "/off")
    await ground.events(3)
    await ground.sql("UPDATE subscriptions SET disabled_at = now(), disabled_reason = 'asked'")
    async with ground.delivering():
        await ground.until_ended()
    rows = await ground.sql("SELECT DISTINCT status, reason FROM deliveries")
    assert [tuple(row) for row in rows] == [("canceled", "disabled")]
    assert receiver.arrivals == []
