"""Whose fault it was: what an endpoint is charged with, what our own faults and a single event's do, when it is disabled."""

from __future__ import annotations

from typing import Any

import pytest

from config.settings import DeliverySettings
from service.db.sql import queries
from service.events.letter import Letter, Reply
from service.events.schedule import decide_next
from service.ids import new_uuid
from tests.events.deliveries import OPEN, Ground
from tests.receiver import Receiver

SINK = {"sink": {"type": "sqs", "fifo": False}, "signing": None}
DAYS: dict[str, Any] = {"warn_after_seconds": 86_400, "disable_after_seconds": 5 * 86_400}
TOO_LARGE = Reply("failed", status=400, error="too large", final=True, this_one=True)
OURS = Reply("ours", error="our secrets for it can't be decrypted")


class Always:
    """A channel that says the same at every try."""

    def __init__(self, reply: Reply) -> None:
        self.reply, self.count = reply, 0

    async def send(self, _subscription: Any, _letter: Letter) -> Reply:
        """Try."""
        self.count += 1
        return self.reply


async def _once(ground: Ground, channel: Always, **settings: Any) -> None:
    """Have one event of a sink tried until its delivery has ended."""
    async with ground.delivering(channels={"sink": channel, "url": channel}, **{**DAYS, **settings}):
        await ground.events(1)
        await ground.until_ended()


async def _age(ground: Ground, **days: float) -> None:
    for name, count in days.items():
        await ground.sql(f"UPDATE subscriptions SET {name} = {name} - make_interval(secs => $1)", count * 86_400)


async def _kinds(ground: Ground) -> list[str]:
    return [each["type"] for each in await ground.account_events() if each["type"].startswith("subscription.")]


# --- One event's own fault -----------------------------------------------------------------------------------------------


async def test_events_that_are_too_large_are_not_held_against_a_queue(ground: Ground) -> None:
    sub = await ground.subscribe(None, **SINK)
    channel = Always(TOO_LARGE)
    async with ground.delivering(channels={"sink": channel}, breaker_failures=2):
        await ground.events(6)
        await ground.until_ended()
    found = await ground.subscription(sub)
    assert (found.failures, found.failing_since, found.open_until) == (0, None, None)
    rows = await ground.sql("SELECT status, reason, failures FROM deliveries")
    assert [tuple(row) for row in rows] == [("failed", "refused", 0)] * 6
    assert [each["type"] for each in await ground.account_events()] == ["delivery.failed"] * 6
    assert channel.count == 6


async def test_an_event_that_is_too_large_does_not_disable_a_queue_that_fails_since_long(ground: Ground) -> None:
    sub = await ground.subscribe(None, **SINK)
    await ground.sql("UPDATE subscriptions SET failing_since = now(), warned_at = now(), failures = 1")
    await _age(ground, failing_since=9, warned_at=3)
    await _once(ground, Always(TOO_LARGE))
    found = await ground.subscription(sub)
    assert (found.disabled_at, found.failures) == (None, 1)
    assert await _kinds(ground) == []


def test_what_the_guard_refuses_is_the_endpoints_fault_and_what_is_too_large_is_not() -> None:
    settings = DeliverySettings()
    guard = Reply("failed", final=True)
    assert decide_next(guard, failures=0, ours=0, settings=settings).verdict == "failed"
    assert decide_next(TOO_LARGE, failures=0, ours=0, settings=settings).verdict == "unfit"
    assert decide_next(OURS, failures=0, ours=0, settings=settings).slow > 0
    assert decide_next(Reply("ours", this_one=True), failures=0, ours=0, settings=settings).slow == 0


# --- Disabling -----------------------------------------------------------------------------------------------------------


async def test_an_address_that_is_refused_every_time_is_warned_of_and_then_disabled(ground: Ground) -> None:
    sub = await ground.subscribe("http://127.0.0.1:9/hooks")
    for days in (0, 6, 0.5, 0.6):
        await _age(ground, failing_since=days, warned_at=days)
        async with ground.delivering(policy=OPEN.__class__(()), **DAYS):
            await ground.events(1)
            await ground.until_ended()
        if days == 6:
            assert (await ground.subscription(sub)).disabled_at is None, "never without a warning"
            assert await _kinds(ground) == ["subscription.failing"]
        if days == 0.5:
            assert (await ground.subscription(sub)).disabled_at is None, "there is a day to heed it"
    assert (await ground.subscription(sub)).disabled_reason == "failing"
    assert await _kinds(ground) == ["subscription.failing", "subscription.disabled"]
    rows = await ground.sql("SELECT DISTINCT status, reason FROM deliveries")
    assert [tuple(row) for row in rows] == [("failed", "refused")]


async def test_a_warning_of_an_earlier_trouble_is_none(ground: Ground) -> None:
    sub = await ground.subscribe(None, **SINK)
    await ground.sql(
        "UPDATE subscriptions SET failing_since = now() - interval '6 days', warned_at = now() - interval '7 days'"
    )
    await _once(ground, Always(Reply("failed", final=True)))
    assert (await ground.subscription(sub)).disabled_at is None
    assert await _kinds(ground) == ["subscription.failing"]


# --- Ours ----------------------------------------------------------------------------------------------------------------


async def _record(ground: Ground, *outcomes: str, verdict: str = "pending", slow: float = 1.0) -> None:
    """Write results of as many deliveries as outcomes are given, in one batch."""
    worker = new_uuid()
    ids = [
        row["id"]
        for row in await ground.sql(
            "UPDATE deliveries SET worker_id = $1, attempts = attempts + 1 WHERE id IN"
            " (SELECT id FROM deliveries WHERE status = 'pending' ORDER BY id LIMIT $2) RETURNING id",
            worker, len(outcomes),
        )
    ]  # fmt: skip
    numbers = {row["id"]: row["attempts"] for row in await ground.sql("SELECT id, attempts FROM deliveries")}
    count = len(outcomes)
    moments = await ground.sql("SELECT now() AS at")
    rows = queries().record_deliveries(
        ground.pool, worker_id=worker, ids=ids, numbers=[numbers[each] for each in ids], outcomes=list(outcomes),
        statuses=[None] * count, errors=[None] * count, responses=[b""] * count, started=[moments[0]["at"]] * count,
        seconds=[0.1] * count, reasons=[None] * count, pauses=[0.0] * count,
        slow=[slow if each == "ours" else 0.0 for each in outcomes],
        verdicts=["delivered" if each == "delivered" else verdict for each in outcomes],
        breaker_failures=5, breaker_first=1000.0, breaker_max=1000.0, warn_after=1e5, disable_after=5e5,
    )  # fmt: skip
    assert len([row async for row in rows]) == count


async def _trouble(ground: Ground) -> tuple[int, float]:
    """Return how many faults of ours are counted, and for how many seconds the endpoint is left alone."""
    row = await ground.one(
        "SELECT ours, coalesce(extract(epoch FROM open_until - now()), 0)::float8 AS pause FROM subscriptions"
    )
    return row["ours"], max(row["pause"], 0.0)


async def test_faults_of_ours_in_a_row_leave_an_endpoint_alone_for_longer_and_longer(ground: Ground) -> None:
    await ground.subscribe("http://hooks.example/")
    await ground.events(40)
    await _record(ground, *["ours"] * 4)
    assert await _trouble(ground) == (4, 0)
    pauses = []
    for _ in range(8):
        await _record(ground, *["ours"] * 16)
        pauses.append((await _trouble(ground))[1])
        await _record(ground, *["ours"] * 16)  # those that were under way when it was closed
        await ground.sql("UPDATE subscriptions SET open_until = now()")
    assert pauses == [pytest.approx(each, abs=0.9) for each in (1, 2, 4, 8, 16, 32, 60, 60)]
    row = await ground.one("SELECT failures, failing_since FROM subscriptions")
    assert tuple(row) == (0, None), "it is not charged with them"
    await _record(ground, "ours", "delivered")
    assert await _trouble(ground) == (0, 0)
    await _record(ground, "delivered", "ours")
    assert await _trouble(ground) == (1, 0)


async def test_a_fault_of_ours_that_says_nothing_of_the_next_try_leaves_no_endpoint_alone(ground: Ground) -> None:
    await ground.subscribe("http://hooks.example/")
    await ground.events(20)
    await _record(ground, *["ours"] * 20, slow=0.0)
    assert await _trouble(ground) == (0, 0)


async def test_a_fault_of_ours_neither_opens_a_breaker_anew_nor_disables(ground: Ground) -> None:
    sub = await ground.subscribe("http://hooks.example/")
    await ground.sql(
        "UPDATE subscriptions SET failures = 7, failing_since = now() - interval '9 days',"
        " warned_at = now() - interval '3 days', open_until = now()"
    )
    await ground.events(3)
    await _record(ground, "ours")
    found = await ground.subscription(sub)
    assert (found.failures, found.disabled_at) == (7, None)
    assert await _trouble(ground) == (1, 0)


async def test_a_fault_of_ours_starts_no_clock(ground: Ground) -> None:
    sub = await ground.subscribe("http://hooks.example/")
    await ground.events(9)
    await _record(ground, *["ours"] * 8)
    assert (await ground.subscription(sub)).failing_since is None
    await _record(ground, "failed")
    assert (await ground.subscription(sub)).failing_since is not None


async def test_what_can_not_be_signed_is_not_tried_in_haste(ground: Ground) -> None:
    await ground.subscribe("http://hooks.example/")
    channel = Always(OURS)
    await ground.events(200)
    async with ground.delivering(channels={"url": channel}):
        await ground.until_count(5, "attempts > 0 AND worker_id IS NULL")
        ours, pause = await _trouble(ground)
        assert ours >= 5
        assert pause > 0
    assert channel.count < 40


# --- Attempts ------------------------------------------------------------------------------------------------------------


async def test_of_many_attempts_the_first_and_the_last_50_are_kept(ground: Ground, receiver: Receiver) -> None:
    await ground.subscribe(receiver.url + "/hooks")
    await ground.events(1)
    await ground.sql(
        "INSERT INTO delivery_attempts (delivery_id, number, started_at, seconds, outcome)"
        " SELECT id, number, now(), 0.1, 'ours' FROM deliveries, generate_series(1, 80) AS number"
    )
    await ground.sql("UPDATE deliveries SET attempts = 80")
    async with ground.delivering():
        await ground.until_ended()
    numbers = [row["number"] for row in await ground.sql("SELECT number FROM delivery_attempts ORDER BY number")]
    assert numbers == [1, *range(32, 82)]
