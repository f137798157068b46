"""The inbox: many callbacks in one commit, each told of its own, and none spoilt by its neighbour."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.callbacks.inbox import Inbox, InboxUnavailableError
from service.db.pool import Connection, Pool, open_pool, transaction
from service.engine.ledger import SETTLE, enqueue_all
from tests.world import until


@dataclass
class Post:
    """An inbox on a database of the test's own."""

    inbox: Inbox
    pool: Pool

    async def put(self, body: bytes, job_id: UUID | None = None, attempt: int = 1, headers: bytes = b"a: b") -> None:
        await self.inbox.put(job_id or uuid4(), attempt, headers, body)

    async def rows(self, query: str, *values: Any) -> list[asyncpg.Record]:
        rows: list[asyncpg.Record] = await self.pool.fetch(query, *values)
        return rows


def _make_inbox(pool: Pool, kept: int = 32) -> Inbox:
    def begin() -> AbstractAsyncContextManager[Connection]:
        return transaction(pool)

    return Inbox(begin, partial(enqueue_all, SETTLE), kept_per_run=kept)


@pytest.fixture
async def post(database_url: str) -> AsyncIterator[Post]:
    """A running inbox."""
    pool = await open_pool(database_url)
    inbox = _make_inbox(pool)
    inbox.start()
    yield Post(inbox, pool)
    await inbox.stop()
    await pool.close()


@asynccontextmanager
async def _held_up(pool: Pool) -> AsyncIterator[None]:
    """Keep every write to the inbox waiting until the block ends."""
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("LOCK TABLE callbacks IN SHARE MODE")
        yield


async def _wait_for_a_waiter(pool: Pool) -> None:
    async def waits() -> bool:
        return bool(await pool.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"))

    await until(waits)


async def test_many_at_once_are_committed_in_a_few_transactions(post: Post) -> None:
    await asyncio.gather(*(post.put(b"%d" % number) for number in range(200)))
    [row] = await post.rows("SELECT count(*) AS all, count(DISTINCT xmin::text) AS transactions FROM callbacks")
    assert row["all"] == 200
    assert row["transactions"] <= 3


async def test_a_put_returns_after_its_commit_and_not_before(post: Post) -> None:
    async with _held_up(post.pool):
        putting = asyncio.create_task(post.put(b"{}"))
        await _wait_for_a_waiter(post.pool)
        assert not putting.done()
    await putting
    assert len(await post.rows("SELECT FROM callbacks")) == 1


async def test_what_comes_while_one_batch_is_written_goes_into_the_next_together(post: Post) -> None:
    async with _held_up(post.pool):
        first = asyncio.create_task(post.put(b"first"))
        await _wait_for_a_waiter(post.pool)
        later = [asyncio.create_task(post.put(b"later %d" % number)) for number in range(50)]
        await asyncio.sleep(0)
    await asyncio.gather(first, *later)
    assert len(await post.rows("SELECT DISTINCT xmin::text FROM callbacks")) == 2


async def test_commits_wait_for_the_disk(post: Post) -> None:
    assert (await post.rows("SHOW synchronous_commit"))[0][0] == "on"


async def _refuse(post: Post, body: bytes) -> None:
    digest = hashlib.sha256(body).hexdigest()
    await post.pool.execute(f"ALTER TABLE callbacks ADD CONSTRAINT bad CHECK (digest <> '\\x{digest}')")


@pytest.mark.parametrize("place", [0, 17, 39])
async def test_a_row_that_postgresql_refuses_does_not_fail_its_neighbours(post: Post, place: int) -> None:
    await _refuse(post, b"bad")
    bodies = [b"good %d" % number for number in range(40)]
    bodies[place] = b"bad"
    answers = await asyncio.gather(*(post.put(body) for body in bodies), return_exceptions=True)
    assert isinstance(answers.pop(place), InboxUnavailableError)
    assert answers == [None] * 39
    kept = {row["body"] for row in await post.rows("SELECT body FROM callbacks")}
    assert kept == set(bodies) - {b"bad"}
    await post.put(b"the inbox goes on")


async def test_each_kept_callback_is_hinted_at_once_per_job(post: Post) -> None:
    job_id = uuid4()
    await asyncio.gather(*(post.put(b"%d" % number, job_id) for number in range(20)), post.put(b"other"))
    tasks = await post.rows("SELECT payload FROM pgqueuer WHERE entrypoint = 'settle'")
    assert job_id.bytes in {row["payload"] for row in tasks}
    assert 2 <= len(tasks) <= 4


async def test_of_one_attempt_thirty_two_are_kept_and_all_are_acknowledged(post: Post) -> None:
    job_id = uuid4()
    await asyncio.gather(*(post.put(b"%d" % number, job_id) for number in range(100)), post.put(b"other"))
    for number in range(5):
        await post.put(b"late %d" % number, job_id)
    assert len(await post.rows("SELECT FROM callbacks WHERE job_id = $1", job_id)) == 32
    assert len(await post.rows("SELECT FROM callbacks")) == 33
    await post.put(b"of the next attempt", job_id, attempt=2)
    assert len(await post.rows("SELECT FROM callbacks WHERE job_id = $1", job_id)) == 33


async def test_the_first_ones_are_kept(post: Post) -> None:
    job_id = uuid4()
    for number in range(40):
        await post.put(b"%d" % number, job_id)
    rows = await post.rows("SELECT body FROM callbacks ORDER BY id")
    assert [row["body"] for row in rows] == [b"%d" % number for number in range(32)]


async def test_a_batch_has_a_bounded_size(post: Post) -> None:
    async with _held_up(post.pool):
        first = asyncio.create_task(post.put(b"first"))
        await _wait_for_a_waiter(post.pool)
        large = [asyncio.create_task(post.put(bytes(2**20) + b"%d" % number)) for number in range(20)]
        await asyncio.sleep(0)
    await asyncio.gather(first, *large)
    sizes = await post.rows("SELECT sum(length(body)) AS bytes FROM callbacks GROUP BY xmin::text")
    assert max(row["bytes"] for row in sizes) <= 17 * 2**20
    assert len(sizes) >= 3


async def test_stopping_waits_for_what_is_being_written_and_what_waits_behind_it(database_url: str) -> None:
    pool = await open_pool(database_url)
    inbox = _make_inbox(pool)
    inbox.start()
    post = Post(inbox, pool)
    async with _held_up(pool):
        first = asyncio.create_task(post.put(b"being written"))
        await _wait_for_a_waiter(pool)
        second = asyncio.create_task(post.put(b"waits behind"))
        await asyncio.sleep(0)
        stopping = asyncio.create_task(inbox.stop())
        await asyncio.sleep(0)
    await asyncio.gather(stopping, first, second)
    assert len(await post.rows("SELECT FROM callbacks")) == 2
    await pool.close()


async def test_a_sender_that_hangs_up_does_not_disturb_the_others(post: Post) -> None:
    async with _held_up(post.pool):
        gone = asyncio.create_task(post.put(b"gone"))
        await _wait_for_a_waiter(post.pool)
        stays = asyncio.create_task(post.put(b"stays"))
        await asyncio.sleep(0)
        gone.cancel()
    await stays
    assert {row["body"] for row in await post.rows("SELECT body FROM callbacks")} == {b"gone", b"stays"}


async def test_without_a_database_nobody_is_told_that_it_was_kept(database_url: str) -> None:
    pool = await open_pool(database_url)
    inbox = _make_inbox(pool)
    inbox.start()
    await pool.close()
    with pytest.raises(InboxUnavailableError):
        await Post(inbox, pool).put(b"{}")
    await inbox.stop()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=300), headers=st.binary(max_size=100))
async def test_any_bytes_are_kept_as_they_came(post: Post, body: bytes, headers: bytes) -> None:
    job_id = uuid4()
    await post.put(body, job_id, headers=headers)
    [row] = await post.rows("SELECT * FROM callbacks WHERE job_id = $1", job_id)
    assert (row["body"], row["headers"]) == (body, headers)
    assert row["digest"] == hashlib.sha256(body).digest()
