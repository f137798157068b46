"""Every event gets its place, whoever dies or stands still between its commit and that, and nobody waits for long."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest

from service import metrics
from service.demo.s3server import S3Server
from service.events.fitting import Wanted
from tests.chaos.ground import Ground, ground
from tests.engine.driven import driven_world, uuid
from tests.events.writing import feed_process, take
from tests.world import World, running_world, until

HELD = "a lighthouse [fault:held]"
_CUT = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE application_name = 'genrelay listener' AND datname = current_database()"""
_WAITS = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
_COUNTS = """SELECT (SELECT count(*) FROM events) AS written, (SELECT count(*) FROM feed) AS placed,
    (SELECT count(*) FROM unplaced) AS left"""
_TELL = """INSERT INTO account_events (id, account_id, type, subject, data)
VALUES ($1, $2, 'destination.failing', 'acme', '{}')"""
_LOCK = "SELECT pg_advisory_lock(hashtextextended('genrelay feed', 0))"


@pytest.fixture
async def on(database_url: str, s3_server: S3Server, tmp_path: Path) -> AsyncIterator[Ground]:
    """A ground for processes."""
    async with ground(database_url, s3_server, tmp_path) as made:
        yield made


async def _all_placed(on: Ground) -> bool:
    [row] = await on.fetch(_COUNTS)
    return bool(row["written"] > 0 and row["placed"] == row["written"] and not row["left"])


async def test_a_process_without_workers_places_its_own_events(
    database_url: str, s3_server: S3Server, bucket: str
) -> None:
    async with driven_world(database_url, s3_server, bucket) as driven:
        job = await driven.submit()
        account = await driven.service.pool.fetchval("SELECT account_id FROM jobs")

        async def placed() -> list[dict[str, Any]]:
            return (await driven.service.feed.page(account, Wanted(), None, 10)).events

        [event] = await until(placed)
        assert [event] == await driven.events(job)
        await driven.cancel(job)

        async def both() -> bool:
            return len(await placed()) == 2

        await until(both)
        assert await placed() == await driven.events(job)


async def test_events_of_a_process_that_died_before_it_placed_them_are_placed_by_another(on: Ground) -> None:
    async with on.process("api", GENRELAY_CRASH_AT="events.placing") as doomed:
        await on.put_destination()
        with contextlib.suppress(httpx.TransportError):  # the answer may not have got out any more
            await on.submit()
        assert await doomed.ended() == -signal.SIGKILL
        assert await on.fetch("SELECT event_id FROM unplaced") != []
        # Nobody kicks here: a worker that has nothing else to do finds them with its heartbeat.
        await on.fetch("UPDATE jobs SET due_at = now() + interval '1 hour'")
        async with on.worker():
            await until(lambda: _all_placed(on))


async def test_a_process_that_stands_still_while_it_places_holds_nobody_up(on: Ground) -> None:
    holder = await asyncpg.connect(on.database_url)
    try:
        async with on.process("api") as stopped, feed_process(on.database_url) as other:
            await on.put_destination()
            await holder.execute(_LOCK)
            await on.submit()

            async def waits() -> bool:
                return bool(await holder.fetchval(_WAITS))

            await until(waits)
            stopped.send(signal.SIGSTOP)
            await stopped.stopped()
            await holder.execute("SELECT pg_advisory_unlock_all()")
            async with asyncio.timeout(5):
                await other.placer.place()
            assert await _all_placed(on)
            stopped.send(signal.SIGCONT)
    finally:
        await holder.close()


async def test_waiters_and_followers_get_everything_when_the_listener_is_cut(
    database_url: str, s3_server: S3Server, bucket: str
) -> None:
    async with running_world(database_url, s3_server, bucket) as world:
        jobs = [await world.submit(HELD, metadata={"n": str(n)}) for n in range(8)]
        account = await world.service.pool.fetchval("SELECT account_id FROM jobs LIMIT 1")
        tasks = [await until(lambda job=job: _task_of(world, job)) for job in jobs]  # type: ignore[misc]
        waiting = [asyncio.create_task(world.client.get(f"/v1/jobs/{job['id']}", params={"wait": 60})) for job in jobs]
        async with world.service.feed.follow(account, Wanted(), from_start=True) as follower:
            following = asyncio.create_task(_until_ends(follower, len(jobs)))
            loop = asyncio.get_running_loop()
            for task in tasks:
                await world.service.pool.execute(_CUT)
                assert world.sandbox.release(task)
            released = loop.time()
            answers = await asyncio.gather(*waiting)
            told = await following
        assert [answer.json()["status"] for answer in answers] == ["succeeded"] * len(jobs)
        assert loop.time() - released < 10, "nobody waited for his time to run out"
        shown = [json.loads(each.body) for each in told]
        for job in jobs:
            assert [event for event in shown if event["subject"] == job["id"]] == await world.events(job)


async def test_a_listener_that_listens_anew_looks_for_what_was_said_meanwhile(
    database_url: str, s3_server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.events.hub._POLL_SECONDS", 600.0)
    async with driven_world(database_url, s3_server, bucket) as driven:
        service, name = driven.service, database_url.partition("?")[0].rpartition("/")[2]
        account = await service.pool.fetchval("SELECT id FROM accounts LIMIT 1")

        async def listening() -> bool:
            return service.listener.listening

        async def deaf() -> bool:
            return not service.listener.listening

        await until(listening)
        server = await asyncpg.connect(database_url.replace(f"/{name}?", "/postgres?"))
        async with service.feed.follow(account, Wanted()) as follower, service.pool.acquire() as connection:
            # The hub has looked because somebody follows; and nobody can listen until all has been said.
            await connection.execute(_TELL, UUID(int=6), account)
            assert await connection.fetchval("SELECT place_events(10)") == 1
            assert [each.event_id for each in await take(follower, 1)] == [UUID(int=6)]
            await server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
            await connection.execute(_CUT)
            await until(deaf)
            await connection.execute(_TELL, UUID(int=7), account)
            assert await connection.fetchval("SELECT place_events(10)") == 1
            assert await follower.next(0) == []
            await server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
            assert [each.event_id for each in await take(follower, 1)] == [UUID(int=7)]
        await server.close()


async def _task_of(world: World, job: dict[str, Any]) -> str:
    return (await world.job(job))["provider_task_id"] or ""


async def _until_ends(follower: Any, count: int) -> list[Any]:
    told: list[Any] = []
    while sum(each.ends_run for each in told) < count:
        told += await take(follower, 1)
    return told


async def test_the_heartbeat_measures_how_long_events_have_waited_for_their_place(
    database_url: str, s3_server: S3Server, bucket: str
) -> None:
    async with running_world(database_url, s3_server, bucket, GENRELAY_ENGINE__HEARTBEAT_SECONDS="0.4") as world:
        account = await world.service.pool.fetchval("SELECT id FROM accounts LIMIT 1")
        holder = await asyncpg.connect(database_url)
        await holder.execute(_LOCK)
        await holder.execute("INSERT INTO unplaced (event_id, account_id) VALUES ($1, $2)", UUID(int=1 << 80), account)

        async def old() -> bool:
            return bool(metrics.EVENTS_UNPLACED_AGE._value.get() > 1e9)  # as old as its id says

        await until(old)
        await holder.close()

        async def none_left() -> bool:
            return bool(metrics.EVENTS_UNPLACED_AGE._value.get() == 0)

        await until(none_left)


async def test_an_end_wakes_only_those_who_wait_for_it(database_url: str, s3_server: S3Server, bucket: str) -> None:
    async with driven_world(database_url, s3_server, bucket) as driven:
        job, other = await driven.submit(), await driven.submit()
        endings = driven.service.endings
        async with endings.subscribe(uuid(job)) as woken, endings.subscribe(uuid(other)) as asleep:

            async def listening() -> bool:
                return driven.service.listener.listening

            await until(listening)
            woken.clear()
            asleep.clear()
            await driven.cancel(job)
            async with asyncio.timeout(10):
                await woken.wait()
            assert not asleep.is_set()
