"""Sent again, given up, brought back; and what a process writes that is late, stopped, or without a database."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import tempfile
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest
from structlog.testing import capture_logs

from service.crypto import Keyring
from service.db.pool import Pool, open_pool
from service.events.letter import Letter, Reply
from service.events.recovery import NoSuchDeliveryError, NotDeliverableError, cancel_pending, recover, resend
from service.events.subscriptions import delete_subscription
from service.events.webhooks import read_failure
from service.ids import new_uuid, show
from service.net import ResolverAway
from tests.chaos.proxy import Proxy, unix_proxy
from tests.events.deliveries import Ground
from tests.receiver import Receiver
from tests.world import until


class Held:
    """A channel whose tries end when the test says so, and as it says."""

    def __init__(self) -> None:
        self.came: list[tuple[Letter, asyncio.Future[Reply]]] = []

    async def send(self, _subscription: Any, letter: Letter) -> Reply:
        """Try."""
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self.came.append((letter, answer))
        return await answer

    async def until(self, count: int) -> None:
        """Wait until there were so many tries."""

        async def look() -> bool:
            return len(self.came) >= count

        await until(look)


# --- Not the endpoint's fault --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        ResolverAway("the host name hooks.example can't be resolved"),
        httpx.PoolTimeout("no connection"),
        OSError(errno.EMFILE, "Too many open files"),
        OSError(errno.ENETUNREACH, "Network is unreachable"),
        asyncpg.ConnectionDoesNotExistError("gone"),
    ],
)
def test_what_is_wrong_here_is_not_charged(error: Exception) -> None:
    outer = (
        httpx.ConnectError("failed") if isinstance(error, OSError) and not isinstance(error, httpx.HTTPError) else error
    )
    if outer is not error:
        outer.__cause__ = error
    assert read_failure(outer).outcome == "ours"


def test_a_connection_that_is_refused_is_the_endpoints_fault() -> None:
    error = httpx.ConnectError("failed")
    error.__cause__ = ConnectionRefusedError(errno.ECONNREFUSED, "refused")
    assert read_failure(error).outcome == "failed"


async def test_our_faults_use_up_no_schedule_and_open_no_breaker(ground: Ground) -> None:
    sub = await ground.subscribe("http://hooks.example/", rate_limit=None)
    held = Held()
    async with ground.delivering(channels={"url": held}, retry_schedule=[0], breaker_failures=1):
        await ground.events(1)
        for n in range(1, 5):
            await held.until(n)
            held.came[-1][1].set_result(Reply("ours", error="DNS could not be asked"))
            await ground.until_count(1, f"attempts = {n} AND worker_id IS NULL")
            [row] = await ground.sql("SELECT extract(epoch FROM due_at - now())::float8 AS pause FROM deliveries")
            assert row["pause"] <= 2.0**n
            await ground.make_due()
        await held.until(5)
        held.came[-1][1].set_result(Reply("delivered", status=200))
        await ground.until_ended()
    assert [each["outcome"] for each in await ground.attempts()] == ["ours"] * 4 + ["delivered"]
    row = await ground.one()
    assert (row["status"], row["failures"], row["attempts"]) == ("delivered", 0, 5)
    found = await ground.subscription(sub)
    assert (found.failures, found.failing_since, found.open_until) == (0, None, None)


async def test_secrets_that_can_not_be_decrypted_are_our_fault(ground: Ground, receiver: Receiver) -> None:
    other = Keyring(["another key altogether - 32 characters or more"])
    await ground.subscribe(receiver.url + "/hooks", headers=other.encrypt('{"x-team": "blue"}'))
    async with ground.delivering():
        await ground.events(1)
        await ground.until_count(1, "attempts = 1 AND worker_id IS NULL")
    [attempt] = await ground.attempts()
    assert (attempt["outcome"], attempt["error"]) == ("ours", "our secrets for it can't be decrypted")
    assert receiver.arrivals == []


# --- Late, stopped, without a database -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "late", [Reply("delivered", status=200), Reply("failed", status=500), Reply("failed", gone=True)]
)
async def test_the_late_result_of_a_paused_worker_changes_nothing_but_adds_its_attempt(
    ground: Ground, late: Reply
) -> None:
    sub = await ground.subscribe("http://hooks.example/")
    paused, other = Held(), Held()
    async with ground.delivering(channels={"url": paused}, timeout_seconds=60) as first:
        await ground.events(1)
        await paused.until(1)
        first.stop()
        # Its lease is over, and another one has it.
        async with ground.delivering(channels={"url": other}, timeout_seconds=60):
            await ground.make_due()
            await other.until(1)
            assert other.came[0][0].event_id == paused.came[0][0].event_id
            assert other.came[0][0].body == paused.came[0][0].body
            before = await ground.one()
            paused.came[0][1].set_result(late)

            async def written() -> bool:
                return len(await ground.attempts()) == 1

            await until(written)
            assert await ground.one() == before
            found = await ground.subscription(sub)
            assert (found.failures, found.disabled_at) == (0, None)
            other.came[0][1].set_result(Reply("delivered", status=202))
            await ground.until_ended()
    row = await ground.one()
    assert (row["status"], row["attempts"], row["response_status"]) == ("delivered", 2, 202)
    assert [each["number"] for each in await ground.attempts()] == [1, 2]


async def test_a_worker_that_died_leaves_nothing_behind_but_a_lease(ground: Ground, receiver: Receiver) -> None:
    await ground.subscribe(receiver.url + "/hooks")
    await ground.events(1)
    await ground.sql(
        "UPDATE deliveries SET worker_id = $1, attempts = 1, due_at = now() + interval '0.3 seconds'", new_uuid()
    )
    async with ground.delivering():
        await ground.until_ended()
    row = await ground.one()
    assert (row["status"], row["attempts"], row["failures"]) == ("delivered", 2, 0)


async def test_stopping_hands_back_what_is_under_way(ground: Ground) -> None:
    await ground.subscribe("http://hooks.example/")
    held = Held()
    async with ground.delivering(channels={"url": held}, timeout_seconds=60):
        await ground.events(2)
        await held.until(2)
    rows = await ground.sql("SELECT *, due_at <= now() AS due FROM deliveries")
    assert [(row["status"], row["worker_id"], row["failures"], row["due"]) for row in rows] == [
        ("pending", None, 0, True)
    ] * 2


async def test_stopping_waits_for_what_is_nearly_done(ground: Ground) -> None:
    await ground.subscribe("http://hooks.example/")
    held = Held()
    async with ground.delivering(channels={"url": held}) as deliverer:
        await ground.events(1)
        await held.until(1)
        deliverer.stop()
        await ground.events(1)
        held.came[0][1].set_result(Reply("delivered", status=200))
        await ground.until_count(1, "status = 'delivered'")
    assert len(held.came) == 1, "and takes no more"


@contextlib.asynccontextmanager
async def _proxied(database_url: str) -> AsyncIterator[tuple[Proxy, Pool]]:
    """Lend a proxy in front of the database, and a pool of one connection through it."""
    before, _, rest = database_url.partition("host=")
    upstream, mark, more = rest.partition("&")
    with tempfile.TemporaryDirectory(prefix="genrelay-proxy-") as folder:
        async with unix_proxy(f"{folder}/.s.PGSQL.5432", f"{upstream}/.s.PGSQL.5432") as proxy:
            pool = await open_pool(f"{before}host={folder}{mark}{more}", size=1)
            try:
                yield proxy, pool
            finally:
                pool.terminate()


@pytest.mark.parametrize("arrives", [False, True], ids=["before it", "after it"])
@pytest.mark.parametrize("failed", [False, True], ids=["delivered", "failed"])
async def test_a_cut_while_it_is_written_down_neither_loses_it_nor_writes_it_twice(
    ground: Ground, database_url: str, arrives: bool, failed: bool
) -> None:
    await ground.subscribe("http://hooks.example/")
    held = Held()
    reply = Reply("failed", status=500, final=True) if failed else Reply("delivered", status=200)
    async with (
        _proxied(database_url) as (proxy, pool),
        ground.delivering(pool=pool, channels={"url": held}, timeout_seconds=60),
    ):
        # The statement is prepared by now, so that what passes next is its execution.
        await ground.events(1)
        await held.until(1)
        held.came[0][1].set_result(reply)
        await ground.until_ended()
        await ground.events(3)
        await held.until(4)
        proxy.trip(b"failed" if failed else b"delivered", arrives=arrives)
        for _, answer in held.came[1:]:
            answer.set_result(reply)
        await proxy.tripped.wait()
        await ground.until_ended()
    rows = await ground.sql("SELECT status, attempts, failures FROM deliveries")
    assert [tuple(row) for row in rows] == [("failed", 1, 1) if failed else ("delivered", 1, 0)] * 4
    assert len(await ground.attempts()) == 4
    assert len(await ground.account_events()) == (4 if failed else 0)
    assert len(held.came) == 4, "nothing was sent twice"


async def test_what_came_of_it_is_written_once_the_database_is_back(ground: Ground, database_url: str) -> None:
    await ground.subscribe("http://hooks.example/")
    held = Held()
    async with (
        _proxied(database_url) as (proxy, pool),
        ground.delivering(pool=pool, channels={"url": held}, timeout_seconds=60),
    ):
        await ground.events(3)
        await held.until(3)
        proxy.cut()
        for _, answer in held.came:
            answer.set_result(Reply("delivered", status=200))
        with capture_logs() as logs:

            async def refused() -> bool:
                return any(line["event"] == "delivery.not_recorded" for line in logs)

            await until(refused)
        proxy.mend()
        await ground.until_ended()
    rows = await ground.sql("SELECT status, attempts FROM deliveries")
    assert [tuple(row) for row in rows] == [("delivered", 1)] * 3
    assert len(held.came) == 3


# --- Sent again ----------------------------------------------------------------------------------------------------------


async def test_a_delivery_is_sent_again_with_a_schedule_of_its_own(ground: Ground, receiver: Receiver) -> None:
    await ground.subscribe(receiver.plan("/hooks", *[500] * 6))
    async with ground.delivering():
        await ground.events(1)
        await ground.until_ended()
        row = await ground.one()
        assert (row["status"], row["attempts"]) == ("failed", 4)
        again = await resend(ground.pool, ground.account_id, row["id"])
        assert (again["status"], again["failures"]) == ("pending", 0)
        ground.kick()
        await ground.until_ended()
        row = await ground.one()
        assert (row["status"], row["attempts"], row["failures"]) == ("delivered", 7, 2)
        await resend(ground.pool, ground.account_id, row["id"])
        ground.kick()
        await receiver.until(8)
        await ground.until_ended()
    assert len({each.id for each in receiver.arrivals}) == 1
    assert [each["number"] for each in await ground.attempts()] == list(range(1, 9))


async def test_a_strangers_delivery_is_not_there_and_a_stopped_subscription_takes_none(ground: Ground) -> None:
    await ground.subscribe("http://hooks.example/")
    await ground.events(1)
    row = await ground.one()
    with pytest.raises(NoSuchDeliveryError):
        await resend(ground.pool, new_uuid(), row["id"])
    await ground.sql("UPDATE subscriptions SET disabled_at = now(), disabled_reason = 'asked'")
    with pytest.raises(NotDeliverableError):
        await resend(ground.pool, ground.account_id, row["id"])


async def _place(ground: Ground) -> None:
    await ground.sql("SELECT place_events(1000)")


async def _disable(ground: Ground, sub: UUID) -> None:
    async with ground.pool.acquire() as connection, connection.transaction():
        await connection.execute(
            "UPDATE subscriptions SET disabled_at = now(), disabled_reason = 'asked' WHERE id = $1", sub
        )
        await cancel_pending(connection, sub, "disabled")


async def _enable(ground: Ground, sub: UUID) -> None:
    await ground.sql("UPDATE subscriptions SET disabled_at = NULL, disabled_reason = NULL WHERE id = $1", sub)


async def test_recover_brings_back_what_failed_was_canceled_or_missed(ground: Ground, receiver: Receiver) -> None:
    sub = await ground.subscribe(receiver.url + "/hooks", event_types=["job.progress", "delivery.*"])
    since = datetime.now(UTC)
    job = await ground.job()
    failed = await ground.write(job, 1)
    await ground.sql("UPDATE deliveries SET status = 'failed', due_at = NULL, ended_at = now()")
    waiting = await ground.write(job, 2, 3)
    await _disable(ground, sub)
    missed = await ground.write(job, 4, 5)
    await ground.write(job, 6, kind="job.submitted")
    await _place(ground)
    with pytest.raises(NotDeliverableError):
        await recover(ground.pool, await ground.subscription(sub), since)
    await _enable(ground, sub)
    assert await recover(ground.pool, await ground.subscription(sub), since) == 5
    assert await recover(ground.pool, await ground.subscription(sub), since) == 0
    async with ground.delivering():
        await ground.until_ended()
    came = sorted(each.id for each in receiver.arrivals)
    assert came == sorted(show("evt", each) for each in [*failed, *waiting, *missed])


async def test_recover_leaves_alone_what_is_older_and_what_was_delivered(ground: Ground, receiver: Receiver) -> None:
    sub = await ground.subscribe(receiver.url + "/hooks")
    async with ground.delivering():
        await ground.events(2)
        await ground.until_ended()
    job = await ground.job()
    await ground.write(job, 1)
    await ground.sql("UPDATE deliveries SET status = 'failed', due_at = NULL, ended_at = now() WHERE job_id = $1", job)
    await _place(ground)
    now = datetime.now(UTC) + timedelta(seconds=1)
    assert await recover(ground.pool, await ground.subscription(sub), now) == 0
    assert await recover(ground.pool, await ground.subscription(sub), now - timedelta(minutes=5)) == 1


async def test_what_a_jobs_webhook_misses_while_it_is_disabled_is_shown_and_brought_back(ground: Ground) -> None:
    hook = await ground.subscribe("http://hooks.example/", origin="job", signing=None)
    since = datetime.now(UTC)
    job = await ground.job(hook)
    await ground.write(job, 1)
    await _disable(ground, hook)
    await ground.write(job, 2)
    rows = await ground.sql("SELECT sequence, status, reason FROM deliveries ORDER BY sequence")
    assert [tuple(row) for row in rows] == [(1, "canceled", "disabled"), (2, "canceled", "disabled")]
    await _enable(ground, hook)
    [missed] = await ground.sql("SELECT id FROM deliveries WHERE sequence = 2")
    assert (await resend(ground.pool, ground.account_id, missed["id"]))["status"] == "pending"
    assert await recover(ground.pool, await ground.subscription(hook), since) == 1
    assert len(await ground.sql("SELECT 1 FROM deliveries WHERE status = 'pending'")) == 2


async def test_an_accounts_own_subscription_shows_nothing_of_what_it_misses_while_it_is_disabled(
    ground: Ground,
) -> None:
    sub = await ground.subscribe("http://hooks.example/")
    await _disable(ground, sub)
    await ground.events(2)
    assert await ground.sql("SELECT 1 FROM deliveries") == []


async def test_a_jobs_webhook_that_was_deleted_gets_nothing(ground: Ground) -> None:
    hook = await ground.subscribe("http://hooks.example/", origin="job", signing=None)
    job = await ground.job(hook)
    assert await delete_subscription(ground.pool, ground.account_id, hook)
    await ground.write(job, 1)
    assert await ground.sql("SELECT 1 FROM deliveries") == []


async def test_deleting_a_subscription_gives_up_what_is_pending_at_once(ground: Ground) -> None:
    sub = await ground.subscribe("http://hooks.example/")
    await ground.events(3)
    assert await delete_subscription(ground.pool, ground.account_id, sub)
    rows = await ground.sql("SELECT status, reason, due_at FROM deliveries")
    assert [tuple(row) for row in rows] == [("canceled", "deleted", None)] * 3


async def test_recover_finds_what_has_no_place_in_the_feed_yet(ground: Ground) -> None:
    sub = await ground.subscribe("http://hooks.example/")
    since = datetime.now(UTC)
    await _disable(ground, sub)
    await ground.events(700)
    await _enable(ground, sub)
    assert await recover(ground.pool, await ground.subscription(sub), since) == 700


async def test_recover_finds_what_comes_before_an_event_by_a_clock_that_is_behind(ground: Ground) -> None:
    sub = await ground.subscribe("http://hooks.example/")
    await _disable(ground, sub)
    await ground.events(3)
    await _place(ground)
    late = new_uuid().int - ((15 * 60 * 1000) << 80)
    await ground.sql(
        "INSERT INTO events (job_id, sequence, id, account_id, run, type, time, data)"
        " VALUES ($1, 1, $2, $3, 1, 'job.progress', now() - interval '15 minutes', '{}')",
        await ground.job(), UUID(int=late), ground.account_id,
    )  # fmt: skip
    await _place(ground)
    await _enable(ground, sub)
    since = datetime.now(UTC) - timedelta(minutes=4)
    assert await recover(ground.pool, await ground.subscription(sub), since) == 3


async def test_recover_tells_no_subscription_of_its_own_trouble(ground: Ground) -> None:
    sub = await ground.subscribe("http://hooks.example/", event_types=["subscription.*"])
    since = datetime.now(UTC) - timedelta(seconds=1)
    await _disable(ground, sub)
    own, other = new_uuid(), new_uuid()
    for event_id, about in ((own, sub), (other, new_uuid())):
        await ground.sql(
            "INSERT INTO account_events (id, account_id, type, subject, subscription_id, data)"
            " VALUES ($1, $2, 'subscription.disabled', 'sub', $3, '{}')",
            event_id, ground.account_id, about,
        )  # fmt: skip
    await _enable(ground, sub)
    assert await recover(ground.pool, await ground.subscription(sub), since) == 1
    assert (await ground.one())["event_id"] == other


async def test_what_was_tried_in_vain_by_us_before_it_is_sent_again_does_not_count(ground: Ground) -> None:
    await ground.subscribe("http://hooks.example/")
    await ground.events(1)
    held = Held()
    for attempts, again in ((5001, "resend"), (6000, "recover")):
        await ground.sql(
            "UPDATE deliveries SET status = 'failed', due_at = NULL, ended_at = now(), attempts = $1, failures = 7",
            attempts,
        )
        row = await ground.one()
        if again == "resend":
            await resend(ground.pool, ground.account_id, row["id"])
        else:
            subscription = await ground.subscription(row["subscription_id"])
            assert await recover(ground.pool, subscription, row["created_at"]) == 1
        held.came.clear()
        async with ground.delivering(channels={"url": held}):
            await held.until(1)
            held.came[0][1].set_result(Reply("ours", error="the database is away"))
            await ground.until_count(1, f"attempts = {attempts + 1} AND worker_id IS NULL")
        row = await ground.one("SELECT *, extract(epoch FROM due_at - now())::float8 AS pause FROM deliveries")
        assert row["status"] == "pending"
        assert row["pause"] < 2, "and it begins with short pauses"


async def test_a_backlog_is_recovered_in_batches_and_whole(ground: Ground) -> None:
    sub = await ground.subscribe("http://hooks.example/")
    since = datetime.now(UTC)
    await ground.events(1300)
    await _disable(ground, sub)
    await ground.events(1200)
    for _ in range(3):
        await _place(ground)
    await _enable(ground, sub)
    assert await recover(ground.pool, await ground.subscription(sub), since) == 2500
    assert len(await ground.sql("SELECT 1 FROM deliveries WHERE status = 'pending'")) == 2500


async def test_one_that_is_under_way_while_its_subscription_is_disabled_is_not_tried_again(ground: Ground) -> None:
    sub = await ground.subscribe("http://hooks.example/")
    held = Held()
    async with ground.delivering(channels={"url": held}):
        await ground.events(2)
        await held.until(2)
        await _disable(ground, sub)
        held.came[0][1].set_result(Reply("failed", status=500))
        held.came[1][1].set_result(Reply("delivered", status=200))
        await ground.until_count(2, "worker_id IS NULL")
    rows = await ground.sql("SELECT status, reason FROM deliveries ORDER BY status")
    assert [tuple(row) for row in rows] == [("canceled", "disabled"), ("delivered", None)]
