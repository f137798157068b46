"""Who is looked at: nobody before something of it may be sent, everybody in time, and no account at another's cost."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any
from uuid import UUID

import pytest

from config.settings import DeliverySettings
from service.db.sql import queries
from service.events.claims import Claimed, claim
from service.events.recovery import recover, resend
from service.ids import new_uuid
from tests.events.deliveries import Ground
from tests.events.test_delivering_plans import CLAIM, plan_of
from tests.receiver import Receiver
from tests.world import until

EVENT = """
INSERT INTO events (job_id, sequence, id, account_id, run, type, time, data)
VALUES ($1, $2, $3, $4, 1, 'job.progress', now(), '{"job": {"test": true}}')
"""
ASLEEP = "UPDATE subscriptions SET look_at = now() + interval '1 hour'"
FLOOD = """
INSERT INTO subscriptions (id, account_id, origin, url, event_types, look_at)
SELECT lpad(to_hex(n), 32, '0')::uuid, $1, 'job', 'https://hooks.example/' || n, '{*}', now() + interval '6 hours'
FROM generate_series(1, 200000) n
"""
THEIRS = """
INSERT INTO deliveries (id, account_id, subscription_id, event_id, type, payload, due_at, attempts)
SELECT new_uuid7(), account_id, id, gen_random_uuid(), 'job.queued', 'thin', look_at, 1 FROM subscriptions
"""


async def _claim(ground: Ground, **settings: Any) -> Claimed:
    return await claim(ground.pool, new_uuid(), Counter(), DeliverySettings(**settings))


async def _rest(ground: Ground, sub: UUID) -> Any:
    """Let a claim's end put a subscription to sleep if it may, and return until when it sleeps."""
    await queries().rest_subscriptions(ground.pool, ids=[sub])
    return await ground.pool.fetchval("SELECT look_at FROM subscriptions WHERE id = $1", sub)


async def _write(connection: Any, ground: Ground, job: UUID, sequence: int) -> None:
    await connection.execute(EVENT, job, sequence, new_uuid(), ground.account_id)


# --- Asleep and awake ----------------------------------------------------------------------------------------------------


async def test_one_with_nothing_pending_sleeps_until_it_is_told(ground: Ground) -> None:
    sub = await ground.subscribe("http://hooks.example/", look_at=None)
    job = await ground.job()
    await ground.write(job, 1)
    assert len((await _claim(ground)).deliveries) == 1
    await ground.sql("UPDATE deliveries SET status = 'delivered', due_at = NULL, worker_id = NULL, ended_at = now()")
    assert await _rest(ground, sub) is None
    assert not (await _claim(ground)).pending
    await ground.write(job, 2)
    assert len((await _claim(ground)).deliveries) == 1


async def test_one_whose_event_is_not_committed_yet_is_not_put_to_sleep(ground: Ground) -> None:
    """It was awake, so the transaction did not write it; a sleep that did not wait for it would be for good."""
    sub = await ground.subscribe("http://hooks.example/", include_test=True)
    job = await ground.job()
    await ground.sql("UPDATE subscriptions SET look_at = now() - interval '1 hour'")
    async with ground.pool.acquire() as writer:
        transaction = writer.transaction()
        await transaction.start()
        await _write(writer, ground, job, 1)
        found = await _claim(ground)
        assert (found.deliveries, found.resting) == ([], [sub])
        assert await _rest(ground, sub) is not None, "awake"
        await transaction.commit()
    assert len((await _claim(ground)).deliveries) == 1


async def test_an_event_that_meets_one_going_to_sleep_waits_and_wakes_it(ground: Ground) -> None:
    sub = await ground.subscribe("http://hooks.example/", include_test=True)
    job = await ground.job()
    await ground.sql("UPDATE subscriptions SET look_at = now() - interval '1 hour'")
    async with ground.pool.acquire() as sleeper, ground.pool.acquire() as writer:
        transaction = sleeper.transaction()
        await transaction.start()
        await queries().rest_subscriptions(sleeper, ids=[sub])
        writing = asyncio.create_task(_write(writer, ground, job, 1))

        async def waits() -> bool:
            return bool(await ground.pool.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))

        await until(waits)
        await transaction.commit()
        await writing
    assert len((await _claim(ground)).deliveries) == 1


async def test_an_event_for_one_that_is_awake_writes_nothing_to_it(ground: Ground) -> None:
    await ground.subscribe("http://hooks.example/", include_test=True)
    job = await ground.job()
    await ground.write(job, 1)
    async with ground.pool.acquire() as first, first.transaction():
        await _write(first, ground, job, 2)
        async with ground.pool.acquire() as second, second.transaction():
            await second.execute("SET LOCAL lock_timeout = '5s'")
            await _write(second, ground, job, 3)


async def test_what_is_sent_again_or_brought_back_wakes_its_subscription(ground: Ground) -> None:
    sub = await ground.subscribe("http://hooks.example/", include_test=True)
    await ground.events(2)
    since = (await ground.sql("SELECT min(created_at) AS at FROM deliveries"))[0]["at"]
    await ground.sql("UPDATE deliveries SET status = 'failed', due_at = NULL, ended_at = now()")
    row = (await ground.sql("SELECT id FROM deliveries LIMIT 1"))[0]
    assert await _rest(ground, sub) is None
    await resend(ground.pool, ground.account_id, row["id"])
    assert len((await _claim(ground)).deliveries) == 1
    await ground.sql(ASLEEP)
    assert await recover(ground.pool, await ground.subscription(sub), since) == 1
    assert len((await _claim(ground)).deliveries) == 1


async def test_a_retry_wakes_one_that_sleeps_for_the_time_of_the_lease(ground: Ground, receiver: Receiver) -> None:
    sub = await ground.subscribe(receiver.plan("/hangs", 500, hang=True))
    async with ground.delivering(retry_schedule=[0.01], timeout_seconds=60):
        await ground.events(1)
        await receiver.until(1)
        await ground.sql("UPDATE subscriptions SET look_at = (SELECT due_at FROM deliveries)")
        receiver.plan("/hangs", 500)
        receiver.release()
        await ground.until_ended()
    assert (await ground.one())["attempts"] == 2
    assert await _rest(ground, sub) is None


async def test_one_that_sleeps_too_long_is_woken(ground: Ground) -> None:
    await ground.subscribe("http://hooks.example/", include_test=True)
    await ground.events(1)
    await ground.sql(ASLEEP)
    assert (await _claim(ground)).deliveries == []
    found = await queries().wake_overslept(ground.pool, after=UUID(int=0), limit=10)
    assert (found["count"], found["last"]) == (1, None)
    assert len((await _claim(ground)).deliveries) == 1


async def test_a_closed_one_rests_until_it_opens(ground: Ground) -> None:
    sub = await ground.subscribe("http://hooks.example/", include_test=True)
    await ground.events(1)
    await ground.sql("UPDATE subscriptions SET open_until = now() + interval '1 hour'")
    found = await _claim(ground)
    assert (found.deliveries, found.resting) == ([], [sub])
    assert await _rest(ground, sub) == (await ground.subscription(sub)).open_until
    assert 3500 < ((await _claim(ground)).next_in or 0) <= 3600


# --- A flood -------------------------------------------------------------------------------------------------------------


async def test_200000_that_sleep_cost_a_claim_nothing(ground: Ground) -> None:
    await ground.sql(FLOOD, ground.account_id)
    await ground.sql(THEIRS)
    await ground.subscribe("http://hooks.example/", include_test=True)
    await ground.events(1)
    async with ground.pool.acquire() as db:
        await db.execute("VACUUM ANALYZE")
        plan = await plan_of(db, "claim_deliveries", CLAIM)
        assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] <= 500
    assert len(await ground.sql("SELECT FROM deliveries WHERE worker_id IS NOT NULL")) == 1, "and it was taken"


@pytest.mark.parametrize("count", [200, 600])
async def test_an_accounts_hanging_endpoints_leave_room_for_the_other_accounts(
    ground: Ground, receiver: Receiver, count: int
) -> None:
    receiver.plan("/hangs", hang=True)
    for n in range(count):
        await ground.subscribe(f"{receiver.url}/hangs?{n}")
    await ground.events(1)
    other = Ground(ground.pool, new_uuid())
    await ground.pool.execute("INSERT INTO accounts (id, name) VALUES ($1, 'other')", other.account_id)
    async with ground.delivering(concurrency=8, timeout_seconds=60, endpoint_concurrency=2):
        await receiver.until(6)
        await other.subscribe(receiver.url + "/well")
        await other.events(1)
        ground.kick()
        await receiver.until(1, "/well")
        rows = await ground.sql(
            "SELECT status, count(*) FROM deliveries WHERE account_id = $1 GROUP BY 1", ground.account_id
        )
        assert [tuple(row) for row in rows] == [("pending", count)]
        assert receiver.open <= 6
        receiver.plan("/hangs", then=200)
        receiver.release()
