"""Following the feed: from now on, from the start or behind an event; cut off when too slow; let go when the process stops."""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
from collections.abc import AsyncIterator
from functools import partial
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from service.db.pool import DATABASE_AWAY, transaction
from service.events.feed import Follower, StoppingError, TooSlowError, UnknownEventError
from service.events.fitting import Wanted
from service.ids import new_uuid
from tests.chaos.proxy import Connect, Proxy
from tests.events.writing import EVERYTHING, Process, feed_process, ids, take
from tests.serving import close_when_accepted
from tests.world import until

MOST = 40
_LISTENERS = """SELECT array_agg(pid) FROM pg_stat_activity
WHERE application_name = 'genrelay listener' AND datname = current_database()"""
_CUT = f"SELECT pg_terminate_backend(pid) FROM unnest(({_LISTENERS})) pid"
_OF_JOB = "SELECT id FROM events WHERE job_id = $1 ORDER BY sequence"
_CUT_ALL = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()"""


@pytest.fixture
async def process(database_url: str) -> AsyncIterator[Process]:
    """A process whose followers may be 40 events behind."""
    async with feed_process(database_url, most_waiting=MOST) as running:
        yield running


async def test_a_follower_hears_of_what_happens_from_now_on(process: Process) -> None:
    account = await process.account()
    job = await process.job(account)
    await process.write(job)
    await process.until_placed()
    async with process.feed.follow(account, EVERYTHING) as follower:
        assert await follower.next(0) == []
        new = [await process.write(job), await process.write(job)]
        told = await take(follower, 2)
        assert ids(told) == new
        assert [each.sequence for each in told] == [2, 3]
        assert await follower.next(0.05) == []


async def test_what_a_follower_is_told_is_what_the_page_shows(process: Process) -> None:
    account = await process.account()
    async with process.feed.follow(account, EVERYTHING) as follower:
        await process.write(await process.job(account), metadata={"order": "Łódź 7"})
        await process.tell(account)
        bodies = [each.body for each in await take(follower, 2)]
    async with process.feed.follow(account, EVERYTHING, from_start=True) as follower:
        assert [each.body for each in await take(follower, 2)] == bodies
    assert [json.loads(body) for body in bodies] == (await process.feed.page(account, EVERYTHING, None, 10)).events


async def test_a_follower_goes_on_behind_the_event_that_it_names(process: Process) -> None:
    account = await process.account()
    job, other = await process.job(account), await process.job(account)
    for _ in range(2 * MOST):  # more than may wait for it
        await process.write(job)
        await process.write(other)
        await process.until_placed()
    order = await process.order(account)
    for after in (0, 5, 4 * MOST - 1):
        async with process.feed.follow(account, EVERYTHING, after=order[after]) as follower:
            missed = order[after + 1 :]
            assert ids(await take(follower, len(missed))) == missed
            order.append(await process.write(job))
            assert ids(await take(follower, 1)) == order[-1:]
    of_job = [row["id"] for row in await process.pool.fetch(_OF_JOB, job)]
    async with process.feed.follow(account, EVERYTHING, after=of_job[10], job_id=job) as follower:
        assert ids(await take(follower, len(of_job) - 11)) == of_job[11:]


async def test_an_event_that_is_named_before_it_has_its_place_is_known(process: Process) -> None:
    account = await process.account()
    job = await process.job(account)
    async with process.pool.acquire() as connection:
        first = await process.write(job, connection=connection)  # nobody has it placed
    assert (await process.feed.page(account, EVERYTHING, first, 10)).events == []
    assert await process.order(account) == [first]


async def test_an_event_of_another_feed_is_unknown(process: Process) -> None:
    account, stranger = await process.account(), await process.account()
    job, theirs = await process.job(account), await process.job(stranger)
    foreign, own = await process.write(theirs), await process.write(job)
    await process.until_placed()
    for after in (foreign, new_uuid()):
        with pytest.raises(UnknownEventError):
            await process.feed.page(account, EVERYTHING, after, 10)
        for job_id in (None, job):
            with pytest.raises(UnknownEventError):
                async with process.feed.follow(account, EVERYTHING, after=after, job_id=job_id):
                    pass
    with pytest.raises(UnknownEventError):
        async with process.feed.follow(account, EVERYTHING, after=own, job_id=await process.job(account)):
            pass
    assert process.hub._audiences == {}
    # Nor is anything told of a stranger's job, whoever names it.
    async with process.feed.follow(account, EVERYTHING, from_start=True, job_id=theirs) as follower:
        await process.write(theirs)
        await process.until_placed()
        assert await follower.next(0.2) == []


async def test_a_follower_gets_only_what_it_asked_for_then_and_now(process: Process) -> None:
    account = await process.account()
    job = await process.job(account)
    wanted = Wanted(("job.succeeded", "destination.*"), {}, None)
    good = Wanted(("job.*",), {"metadata": {"team": "blue"}, "provider": ["novita", "modelslab"]}, True)
    mine: dict[Wanted | str, list[object]] = {"types": [], "metadata": []}
    for _ in range(2):
        followers = {
            "types": process.feed.follow(account, wanted, from_start=True),
            "metadata": process.feed.follow(account, good, from_start=True),
        }
        async with followers["types"] as types, followers["metadata"] as metadata:
            # The first round reads everything live, the second has the first one's to catch up with.
            for number in range(60):
                await process.write(job, "job.running", metadata={"team": "red"})
                if number % 20 == 0:
                    mine["metadata"].append(await process.write(job, "job.queued", metadata={"team": "blue", "n": "1"}))
                    await process.write(job, "job.queued", metadata={"team": "blue"}, test=False)
                    mine["types"].append(await process.write(job, "job.succeeded"))
                    await process.until_placed()
                    mine["types"].append(await process.tell(account))
                await process.until_placed()
            assert ids(await take(types, len(mine["types"]))) == mine["types"]
            assert ids(await take(metadata, len(mine["metadata"]))) == mine["metadata"]
            assert await types.next(0.05) == []
    found = (await process.feed.page(account, wanted, None, 5)).events
    assert [event["type"] for event in found] == ["job.succeeded", "destination.failing"] * 2 + ["job.succeeded"]


async def test_a_follower_that_takes_nothing_is_cut_off_and_others_get_everything(process: Process) -> None:
    account = await process.account()
    job = await process.job(account)
    async with (
        process.feed.follow(account, EVERYTHING) as stuck,
        process.feed.follow(account, EVERYTHING) as quick,
        process.feed.follow(account, EVERYTHING, job_id=job) as of_job,
    ):
        written, told, told_of_job = [], [], []
        for _ in range(3 * MOST):
            written.append(await process.write(job))
            told += await take(quick, 1)
            told_of_job += await take(of_job, 1)
        assert ids(told) == ids(told_of_job) == written
        with pytest.raises(TooSlowError):
            await stuck.next(0)
        assert process.hub._count == 2
        with pytest.raises(TooSlowError):
            await stuck.next(0)


async def test_a_follower_that_was_cut_off_misses_nothing_when_it_comes_back(process: Process) -> None:
    account = await process.account()
    job = await process.job(account)
    async with process.feed.follow(account, EVERYTHING) as stuck:
        first = await process.write(job)
        [told] = await take(stuck, 1)
        rest = [await process.write(job) for _ in range(2 * MOST)]
        await process.until_placed()

        async def cut_off() -> bool:
            return process.hub._count == 0

        await until(cut_off)
    assert told.event_id == first
    async with process.feed.follow(account, EVERYTHING, after=first) as again:
        assert ids(await take(again, 2 * MOST)) == rest


async def test_followers_are_let_go_when_the_process_stops(process: Process) -> None:
    account = await process.account()
    await process.write(await process.job(account))
    await process.until_placed()
    live = process.feed.follow(account, EVERYTHING)
    behind = process.feed.follow(account, EVERYTHING, from_start=True)
    async with live, behind:
        waiting = asyncio.create_task(live.next(60))
        await asyncio.sleep(0)
        process.feed.release()
        with pytest.raises(StoppingError):
            await waiting
        with pytest.raises(StoppingError):
            await behind.next(60)
    with pytest.raises(StoppingError):
        async with process.feed.follow(account, EVERYTHING):
            pass


async def test_a_listener_that_is_cut_costs_followers_a_moment_and_no_event(process: Process) -> None:
    account = await process.account()
    job = await process.job(account)
    async with process.feed.follow(account, EVERYTHING) as follower, process.endings.subscribe(job) as woken:
        for _ in range(3):
            woken.clear()
            waiting = asyncio.create_task(take(follower, 2))
            await process.pool.execute(_CUT)
            # Placed while nobody listens, so that no notice tells of it.
            written = [await process.write(job), await process.write(job)]
            await process.until_placed()
            assert ids(await waiting) == written
            # Nothing but the new connection wakes it.
            async with asyncio.timeout(10):
                await woken.wait()
            await process.until_listening()


class Silent(Proxy):
    """A proxy that can forget connections as a firewall does: they stand, and nothing comes through any more."""

    def __init__(self, connect: Connect) -> None:
        super().__init__(connect)
        self._forgotten: set[asyncio.StreamWriter] = set()

    def forget(self) -> None:
        """Let nothing more through to those who are connected now."""
        self._forgotten |= self._open

    async def _to_client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, deaf: asyncio.Event) -> None:
        while data := await reader.read(65536):
            if writer not in self._forgotten:
                writer.write(data)


@pytest.fixture
async def silent(database_url: str) -> AsyncIterator[tuple[Silent, str]]:
    """Such a proxy in front of this test's database, and the DSN that goes through it."""
    socket = database_url.partition("host=")[2].partition("&")[0] + "/.s.PGSQL.5432"
    proxy = Silent(lambda: asyncio.open_unix_connection(socket))
    with tempfile.TemporaryDirectory(prefix="genrelay-proxy-") as folder:
        server = await asyncio.start_unix_server(proxy.handle, f"{folder}/.s.PGSQL.5432")
        try:
            yield proxy, database_url.partition("host=")[0] + f"host={folder}"
        finally:
            await close_when_accepted(server)
            await proxy.close()


async def test_a_listener_that_hears_nothing_is_found_out_by_a_look_and_built_anew(
    database_url: str, silent: tuple[Silent, str]
) -> None:
    proxy, dsn = silent
    async with feed_process(database_url, listens_at=dsn) as process:
        account = await process.account()
        job = await process.job(account)
        before = await process.pool.fetchval(_LISTENERS)
        async with process.feed.follow(account, EVERYTHING) as follower:
            proxy.forget()
            event = await process.write(job)
            assert ids(await take(follower, 1)) == [event]
            assert process.said == []

            async def built_anew() -> bool:
                now = await process.pool.fetchval(_LISTENERS)
                return now not in (None, before) and process.listener.listening

            await until(built_anew)
            event = await process.write(job)
            assert ids(await take(follower, 1)) == [event]

            async def heard() -> bool:
                return len(process.said) == 1

            await until(heard)


async def test_a_hub_that_nobody_follows_asks_for_nothing(process: Process) -> None:
    account = await process.account()
    job = await process.job(account)
    async with process.feed.follow(account, EVERYTHING) as follower:
        await process.write(job)
        await take(follower, 1)

    async def asleep() -> bool:
        return process.hub._position is None

    await until(asleep)
    for _ in range(5):
        await process.write(job)
    await process.until_placed()
    assert process.hub._position is None
    assert not process.hub._bell.is_set()


async def test_processes_see_the_same_order(process: Process, database_url: str) -> None:
    account = await process.account()
    jobs = [await process.job(account) for _ in range(8)]
    async with feed_process(database_url) as one, feed_process(database_url) as other:
        followers = [each.feed.follow(account, EVERYTHING, from_start=True) for each in (one, other)]
        async with followers[0], followers[1]:
            writers = [
                asyncio.create_task(_write_some(each, job)) for each, job in zip([one, other] * 4, jobs, strict=True)
            ]
            told = await asyncio.gather(*(take(follower, 80) for follower in followers))
            await asyncio.gather(*writers)
        assert ids(told[0]) == ids(told[1]) == await process.order(account)


async def _write_some(process: Process, job: object) -> None:
    for _ in range(10):
        await process.write(job)  # type: ignore[arg-type]


async def test_those_who_join_while_events_come_miss_none(process: Process) -> None:
    account = await process.account()
    job = await process.job(account)

    async def follow(follower: Follower) -> list[int]:
        numbers: list[int] = []
        async with follower:
            while not numbers or numbers[-1] < 200:
                numbers += [each.sequence or 0 for each in await follower.next(20)]
        return numbers

    joined = []
    for number in range(200):
        event = await process.write(job)
        if number % 4 == 0:
            kind = number % 3
            joined.append(
                asyncio.create_task(
                    follow(
                        process.feed.follow(
                            account,
                            EVERYTHING,
                            after=event if kind == 1 else None,
                            from_start=kind == 0,
                            job_id=job if number % 8 else None,
                        )
                    )
                )
            )
    for numbers in await asyncio.gather(*joined):
        assert numbers == list(range(numbers[0], 201))


async def test_those_who_join_while_bodies_are_read_miss_none_and_hear_of_nothing_before(process: Process) -> None:
    account, other = await process.account(), await process.account()
    job, theirs = await process.job(account), await process.job(other)
    async with (
        process.feed.follow(account, EVERYTHING) as first,
        process.feed.follow(other, EVERYTHING, from_start=True) as joining,
        contextlib.AsyncExitStack() as late,
    ):
        assert await joining.next(0) == []  # it has come to the end, and joins with its next step
        async with process.pool.acquire() as connection, transaction(process.pool) as lock:
            before = await process.write(job, connection=connection)
            missed = await process.write(theirs, connection=connection)
            await lock.execute("LOCK TABLE events IN ACCESS EXCLUSIVE MODE")
            await process.until_placed()
            # The hub knows by now whom they concern, and waits for their bodies.
            await until(partial(_waiting_for, process, "events", 1))
            new = await late.enter_async_context(process.feed.follow(account, EVERYTHING))
            told = asyncio.create_task(take(joining, 1))
            await until(partial(_is_told, process, other))
        after = await process.write(job)
        assert ids(await told) == [missed]
        assert ids(await take(first, 2)) == [before, after]
        assert ids(await take(new, 1)) == [after]


async def _is_told(process: Process, account: object) -> bool:
    return account in process.hub._audiences


async def test_readers_of_one_account_leave_room_for_others(process: Process) -> None:
    account, other = await process.account(), await process.account()
    async with contextlib.AsyncExitStack() as stack:
        lock = await stack.enter_async_context(transaction(process.pool))
        await lock.execute("LOCK TABLE feed")
        followers = [process.feed.follow(account, EVERYTHING, from_start=True) for _ in range(10)]
        for each in followers:
            await stack.enter_async_context(each)
        reading = [asyncio.create_task(each.next(0)) for each in followers]
        await until(partial(_waiting_for, process, "feed", 2))
        reading.append(asyncio.create_task(_read_some(process, other)))
        await until(partial(_waiting_for, process, "feed", 3))
        await lock.execute("ROLLBACK; BEGIN")
        assert await asyncio.gather(*reading) == [[]] * 11


async def _waiting_for(process: Process, table: str, count: int) -> bool:
    rows = await process.pool.fetch("SELECT FROM pg_locks WHERE relation = $1::regclass AND NOT granted", table)
    return len(rows) == count


async def _read_some(process: Process, account: UUID) -> list[Any]:
    return list(await process.feed.read(account, EVERYTHING, 0, 10, 10))


async def test_the_database_may_go_away_while_somebody_follows(process: Process) -> None:
    account = await process.account()
    job = await process.job(account)
    async with process.feed.follow(account, EVERYTHING) as follower:
        connection = await asyncpg.connect(process.listener._dsn)
        for _ in range(3):
            await connection.execute(_CUT_ALL)
            event = await _until_written(process, job)
            assert ids(await take(follower, 1)) == [event]
        await connection.close()


async def _until_written(process: Process, job: object) -> object:
    async def write() -> object:
        try:
            return await process.write(job)  # type: ignore[arg-type]
        except DATABASE_AWAY:
            return None

    return await until(write)


async def test_wanted_events_are_found_among_thousands_that_are_not(process: Process) -> None:
    account = await process.account()
    job = await process.job(account)
    first = await process.write(job, "job.queued")
    await process.pool.execute(
        """INSERT INTO account_events (id, account_id, type, subject, data)
           SELECT gen_random_uuid(), $1, 'destination.failing', 'acme', '{}' FROM generate_series(1, 3000)""",
        account,
    )
    await process.until_placed()
    wanted, rest = Wanted(("job.*",)), [first, await process.write(job), await process.write(job)]
    await process.until_placed()
    assert [event["type"] for event in (await process.feed.page(account, wanted, None, 2)).events] == [
        "job.queued",
        "job.running",
    ]
    assert (await process.feed.page(account, wanted, rest[-1], 2)).events == []
    async with process.feed.follow(account, wanted, from_start=True) as follower:
        assert ids(await take(follower, 3)) == rest
        rest.append(await process.write(job))
        assert ids(await take(follower, 1)) == rest[-1:]


async def test_a_page_that_takes_too_long_is_given_up(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    account = await process.account()
    monkeypatch.setattr("service.events.feed._PAGE_SECONDS", 0.05)
    async with transaction(process.pool) as connection:
        await connection.execute("LOCK TABLE feed")
        with pytest.raises(DATABASE_AWAY):
            await process.feed.page(account, EVERYTHING, None, 2)
    assert (await process.feed.page(account, EVERYTHING, None, 2)).events == []
