"""Nobody misses an event, hears of one twice, or in another order than others do, however commits overtake each other."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from service.db.pool import transaction
from service.events.feed import Follower, Told
from service.ids import read
from tests.events.writing import EVERYTHING, Process, feed_process, ids, take
from tests.world import until

JOBS, ROUNDS = 24, 12


@pytest.fixture
async def process(database_url: str) -> AsyncIterator[Process]:
    """A process that runs nothing but its part of the feed."""
    async with feed_process(database_url, most_waiting=10_000) as running:
        yield running


class Writers:
    """Writers of many jobs that commit in an order of their own: each waits before it commits until others have."""

    def __init__(self, processes: list[Process], seed: int) -> None:
        self.processes = processes
        self.random = random.Random(seed)
        self.open: list[asyncio.Event] = []

    async def write(self, job_id: UUID) -> None:
        """Write a job's events, one transaction after the other, each held open for a while."""
        for _ in range(ROUNDS):
            process = self.random.choice(self.processes)
            async with transaction(process.pool) as connection:
                for _ in range(self.random.choice((1, 1, 2))):
                    await process.write(job_id, connection=connection)
                await self._hold()
            if self.random.random() < 0.8:  # the others are placed by whoever comes next
                process.placer.kick()

    async def _hold(self) -> None:
        """Return when another writer lets this one go, which is not the first that came."""
        held = asyncio.Event()
        self.open.append(held)
        while len(self.open) > self.random.randrange(1, 8):
            self.open.pop(self.random.randrange(len(self.open))).set()
        if not held.is_set():
            asyncio.get_running_loop().call_later(0.02, held.set)
        await held.wait()


async def _pages(process: Process, account_id: UUID, done: asyncio.Event) -> list[UUID]:
    """Page through a feed while it grows, and to its end."""
    found: list[UUID] = []
    after: UUID | None = None
    while True:
        last = done.is_set()
        page = (await process.feed.page(account_id, EVERYTHING, after, 7)).events
        found += [read("evt", event["id"]) for event in page]
        after = found[-1] if found else None
        if not page and last:
            return found
        await asyncio.sleep(0)


async def _follow(follower: Follower, done: asyncio.Event) -> list[Told]:
    told: list[Told] = []
    async with follower:
        while True:
            last = done.is_set()
            more = await follower.next(0.3)
            told += more
            if last and not more:
                return told


async def _resume(process: Process, account_id: UUID, done: asyncio.Event) -> list[Told]:
    """Follow like a client that is cut off all the time and comes back with the last id that it has."""
    told: list[Told] = []
    while True:
        after = told[-1].event_id if told else None
        last = done.is_set()
        async with process.feed.follow(account_id, EVERYTHING, after=after, from_start=after is None) as follower:
            for _ in range(3):
                told += (more := await follower.next(0.1))
        if last and not more:
            return told


def check_jobs(told: list[Told]) -> None:
    """Assert that the events of each job come in their order, without a gap."""
    numbers = defaultdict(list)
    for each in told:
        numbers[each.job_id].append(each.sequence)
    for job_id, found in numbers.items():
        assert found == list(range(1, len(found) + 1)), job_id


@pytest.mark.parametrize("seed", range(3))
async def test_readers_miss_nothing_while_writers_commit_out_of_order(
    process: Process, database_url: str, seed: int
) -> None:
    async with feed_process(database_url, most_waiting=10_000) as other:
        accounts = [await process.account() for _ in range(3)]
        jobs = [(await process.job(account), account) for account in accounts for _ in range(JOBS // 3)]
        writers, done = Writers([process, other], seed), asyncio.Event()
        reading: dict[UUID, list[asyncio.Task[Any]]] = {}
        for account in accounts:
            reading[account] = [
                asyncio.create_task(_pages(other, account, done)),
                asyncio.create_task(_follow(process.feed.follow(account, EVERYTHING, from_start=True), done)),
                asyncio.create_task(_follow(other.feed.follow(account, EVERYTHING, from_start=True), done)),
                asyncio.create_task(_resume(process, account, done)),
            ]
        of_jobs = [
            asyncio.create_task(_follow(each.feed.follow(account, EVERYTHING, from_start=True, job_id=job), done))
            for each, (job, account) in zip([process, other] * JOBS, jobs, strict=False)
        ]
        await asyncio.gather(*(writers.write(job) for job, _ in jobs))
        await process.until_placed()
        done.set()
        for account, readers in reading.items():
            await _check_account(process, account, await asyncio.gather(*readers))
        for (job, _), told in zip(jobs, await asyncio.gather(*of_jobs), strict=True):
            rows = await process.pool.fetch("SELECT id FROM events WHERE job_id = $1 ORDER BY sequence", job)
            assert ids(told) == [row["id"] for row in rows]


async def _check_account(process: Process, account: UUID, found: list[Any]) -> None:
    pages, *followed = found
    order = await process.order(account)
    written = await process.pool.fetch("SELECT id FROM events WHERE account_id = $1", account)
    assert len(written) >= JOBS // 3 * ROUNDS
    assert sorted(order) == sorted(row["id"] for row in written), "the feed is what was written, each once"
    assert pages == order
    for told in followed:
        assert ids(told) == order
        check_jobs(told)


async def test_an_event_that_commits_late_is_placed_behind_those_that_were_read_meanwhile(process: Process) -> None:
    account = await process.account()
    early, late = await process.job(account), await process.job(account)
    async with process.feed.follow(account, EVERYTHING) as follower:
        async with transaction(process.pool) as held:
            first = await process.write(early, connection=held)
            second = await process.write(late)
            assert first < second
            assert ids(await take(follower, 1)) == [second]
        process.placer.kick()
        assert ids(await take(follower, 1)) == [first]
    assert await process.order(account) == [second, first]


async def test_a_transaction_that_is_rolled_back_invents_nothing(process: Process) -> None:
    account = await process.account()
    job = await process.job(account)
    async with process.feed.follow(account, EVERYTHING) as follower:
        with pytest.raises(ZeroDivisionError):
            async with transaction(process.pool) as connection:
                await process.write(job, connection=connection)
                await process.until_placed()
                raise ZeroDivisionError
        real = await process.write(job)
        told = await take(follower, 1)
    assert [(each.event_id, each.sequence) for each in told] == [(real, 1)]
    assert await process.order(account) == [real]
    assert await process.pool.fetchval("SELECT count(*) FROM unplaced") == 0


async def test_events_of_an_account_stand_in_the_same_feed_as_those_of_its_jobs(process: Process) -> None:
    account, stranger = await process.account(), await process.account()
    job = await process.job(account)
    async with process.feed.follow(account, EVERYTHING) as follower:
        wanted = [await process.write(job)]
        await process.until_placed()
        wanted.append(await process.tell(account))
        await process.tell(stranger)
        await process.until_placed()
        wanted.append(await process.write(job, "job.failed"))
        told = await take(follower, 3)
    assert ids(told) == wanted
    assert [(each.job_id, each.ends_run) for each in told] == [(job, False), (None, False), (job, True)]
    page = (await process.feed.page(account, EVERYTHING, None, 10)).events
    assert [event["subject"] for event in page][1] == "acme"


async def test_a_backlog_is_placed_in_batches_in_the_order_of_jobs_and_numbers(process: Process) -> None:
    account = await process.account()
    # What a cluster leaves behind when everybody stopped between commit and placing.
    await process.pool.execute(
        """INSERT INTO unplaced (event_id, account_id, job_id, sequence, ended)
           SELECT gen_random_uuid(), $1, lpad(to_hex(n / 10), 32, '0')::uuid, 10 - n % 10, n % 10 = 0
           FROM generate_series(0, 49999) n ORDER BY random()""",
        account,
    )
    process.placer.kick()

    async def placed() -> bool:
        return not await process.pool.fetchval("SELECT EXISTS(SELECT FROM unplaced)")

    await until(placed, 60)
    rows = await process.pool.fetch("SELECT job_id, sequence FROM feed ORDER BY position")
    found = [(row["job_id"], row["sequence"]) for row in rows]
    assert len(found) == 50_000
    assert found == sorted(found)

    async def heard() -> bool:
        return len(process.said) == 100

    await until(heard)
    # Every tenth event is a job's end: too many to name, so everybody looks.
    assert {said.partition(" ")[2].count(",") for said in process.said} <= {0, 49}


async def test_too_many_ends_to_name_wake_everybody(process: Process) -> None:
    account = await process.account()
    await process.pool.execute(
        """INSERT INTO unplaced (event_id, account_id, job_id, sequence, ended)
           SELECT gen_random_uuid(), $1, gen_random_uuid(), 1, true FROM generate_series(1, 300)""",
        account,
    )
    async with process.endings.subscribe(UUID(int=1)) as woken:
        process.placer.kick()
        async with asyncio.timeout(10):
            await woken.wait()
    assert process.said[-1].endswith(" *")


async def test_only_one_places_at_a_time_and_what_it_can_not_see_waits_for_the_next(process: Process) -> None:
    account = await process.account()
    job = await process.job(account)
    await process.pool.execute("INSERT INTO unplaced (event_id, account_id) VALUES (gen_random_uuid(), $1)", account)
    connection = await asyncpg.connect(process.listener._dsn)
    try:
        async with connection.transaction():
            assert await connection.fetchval("SELECT place_events(500)") == 1
            await process.write(job)
            [waiting] = [asyncio.create_task(process.placer.place())]

            async def blocked() -> bool:
                rows = await process.pool.fetch("SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
                return bool(rows)

            await until(blocked)
            assert not waiting.done()
    finally:
        await connection.close()
    await waiting
    assert len(await process.order(account)) == 2
