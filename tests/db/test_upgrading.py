"""An upgrade from the version before there were subscriptions: what it left open, and what its processes write beside us."""

from __future__ import annotations

import logging
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from pogo_core.util.migrate import apply

from config.loading import load_settings
from service.db.embedded import EmbeddedServer
from service.db.migrate import FOLDER, migrate
from service.db.opening import check_schema
from service.ids import new_uuid
from tests.cli.command import clean_environment, run
from tests.database import dsn_of
from tests.world import SECRET_KEY

URL, TOO_LONG = "https://consumer.example/hooks", "https://consumer.example/" + "ł" * 1100
OURS = "https://relay.example"
# What the version before writes: it knows nothing of newer columns.
_JOB = """
INSERT INTO jobs (id, account_id, provider, operation, status, test_status, deadline_seconds, deadline_at, due_at, webhook,
                  webhook_events, error, completed_at, last_event)
SELECT $1, $2, 'novita', 'txt2img', CASE WHEN $5 THEN 'failed' ELSE 'queued' END, 'TASK_STATUS_SUCCEED', 60, now(),
       CASE WHEN NOT $5 THEN now() + interval '1 hour' END, $3, $4, CASE WHEN $5 THEN '{}'::jsonb END,
       CASE WHEN $5 THEN now() END, 1
"""
_FIRST_EVENT = """
INSERT INTO events (job_id, sequence, id, account_id, run, type, time, data)
VALUES ($1, 1, gen_random_uuid(), $2, 1, 'job.queued', now(), '{"job": {"test": true}}')
"""
_EVENT = """
WITH changed AS (UPDATE jobs SET last_event = last_event + 1 WHERE id = $1 RETURNING *)
INSERT INTO events (job_id, sequence, id, account_id, run, type, time, data)
SELECT id, last_event, gen_random_uuid(), account_id, 1, $2, now(), '{"job": {"test": true}}' FROM changed
"""
_HEARD = """SELECT url, type, count(*) FROM deliveries JOIN subscriptions ON subscriptions.id = subscription_id
WHERE job_id = $1 GROUP BY 1, 2 ORDER BY 2"""


class Before:
    """A database as the version before left it, and that version's way to write."""

    def __init__(self, dsn: str, connection: asyncpg.Connection[asyncpg.Record]) -> None:
        self.dsn, self.connection = dsn, connection

    async def account(self) -> UUID:
        """Make an account."""
        account_id = new_uuid()
        await self.connection.execute("INSERT INTO accounts (id, name) VALUES ($1, $2)", account_id, str(account_id))
        return account_id

    async def job(
        self, account_id: UUID, webhook: str | None = URL, only: list[str] | None = None, *, ended: bool = False
    ) -> UUID:
        """Write a job and its first event."""
        job_id = new_uuid()
        await self.connection.execute(_JOB, job_id, account_id, webhook, only, ended)
        await self.connection.execute(_FIRST_EVENT, job_id, account_id)
        return job_id

    async def write(self, job_id: UUID, kind: str = "job.succeeded") -> None:
        """Write a job's next event."""
        await self.connection.execute(_EVENT, job_id, kind)

    async def heard(self, job_id: UUID) -> list[tuple[Any, ...]]:
        """Return the deliveries of a job: URL, type and how many."""
        return [tuple(row) for row in await self.connection.fetch(_HEARD, job_id)]

    async def sources(self) -> list[str]:
        """Return what the events say they came from, oldest first."""
        return [row["source"] for row in await self.connection.fetch("SELECT source FROM events ORDER BY sequence")]


@pytest.fixture
async def before(postgres: EmbeddedServer, tmp_path: Path) -> AsyncIterator[Before]:
    """A database with the migrations up to 0006."""
    for file in FOLDER.iterdir():
        if file.is_file() and file.name < "0007":
            shutil.copy(file, tmp_path / file.name)
    name = f"before_{uuid4().hex}"
    dsn, server = dsn_of(postgres.dsn, name), await asyncpg.connect(postgres.dsn)
    await server.execute(f"CREATE DATABASE {name}")
    connection = await asyncpg.connect(dsn)
    try:
        await apply(connection, tmp_path, schema_name="public", logger=logging.getLogger("test"))
        yield Before(dsn, connection)
    finally:
        await connection.close()
        await server.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await server.close()


async def test_a_job_that_is_open_at_the_upgrade_tells_its_webhook_of_its_end(before: Before) -> None:
    account, other = await before.account(), await before.account()
    jobs = [await before.job(account, only=["job.succeeded"]), await before.job(account), await before.job(other)]
    silent, long = await before.job(account, None), await before.job(account, TOO_LONG)
    await migrate(before.dsn)
    subscriptions = await before.connection.fetch("SELECT account_id, url, origin FROM subscriptions")
    assert await before.connection.fetchval("SELECT count(webhook_id) FROM jobs") == len(jobs)
    assert sorted(map(tuple, subscriptions)) == sorted([(account, URL, "job"), (other, URL, "job")])
    for kind in ("job.progress", "job.succeeded"):
        for job in (*jobs, silent, long):
            await before.write(job, kind)
    both = [(URL, "job.progress", 1), (URL, "job.succeeded", 1)]
    assert [await before.heard(job) for job in jobs] == [both[1:], both, both]
    assert await before.heard(silent) == await before.heard(long) == []


async def test_a_job_that_a_process_of_the_version_before_takes_in_beside_us_tells_its_webhook(before: Before) -> None:
    await migrate(before.dsn)
    account = await before.account()
    first, second = await before.job(account), await before.job(account)
    assert [await before.heard(job) for job in (first, second)] == [[(URL, "job.queued", 1)]] * 2
    assert await before.connection.fetchval("SELECT count(*) FROM subscriptions") == 1
    await before.connection.execute("UPDATE subscriptions SET disabled_at = now(), disabled_reason = 'gone'")
    again = await before.job(account, only=["job.succeeded"])  # it means it
    await before.write(again)
    assert await before.heard(again) == [(URL, "job.succeeded", 1)]
    for without in (None, TOO_LONG):
        job = await before.job(account, without)
        assert await before.heard(job) == []
    assert await before.connection.fetchval("SELECT count(*) FROM subscriptions") == 1


async def test_the_next_run_of_a_job_that_ended_before_the_upgrade_tells_its_webhook(before: Before) -> None:
    job = await before.job(await before.account(), ended=True)
    await migrate(before.dsn)
    assert await before.connection.fetchval("SELECT count(*) FROM subscriptions") == 0
    await before.write(job, "job.queued")
    assert await before.heard(job) == [(URL, "job.queued", 1)]


async def test_a_job_of_ours_keeps_the_subscription_that_intake_gave_it(before: Before) -> None:
    await migrate(before.dsn)
    account, given = await before.account(), new_uuid()
    job = await before.job(account, None)
    await before.connection.execute(
        "INSERT INTO subscriptions (id, account_id, origin, url, event_types, deleted_at)"
        " VALUES ($1, $2, 'job', $3, '{*}', now())",
        given, account, URL,
    )  # fmt: skip
    await before.connection.execute("UPDATE jobs SET webhook = $2, webhook_id = $3 WHERE id = $1", job, URL, given)
    await before.write(job)
    assert await before.connection.fetchval("SELECT webhook_id FROM jobs") == given
    assert await before.heard(job) == []


@pytest.mark.parametrize("by", ["start", "command"])
async def test_events_show_the_source_after_the_upgrade_that_they_showed_before(before: Before, by: str) -> None:
    job = await before.job(await before.account())
    if by == "command":
        environment = clean_environment(
            GENRELAY_DATABASE_URL=before.dsn, GENRELAY_PUBLIC_URL=OURS, GENRELAY_SECRET_KEY=SECRET_KEY
        )
        assert (await run("migrate", environment=environment)).status == 0
    else:
        await check_schema(load_settings({"GENRELAY_PUBLIC_URL": OURS}), before.dsn)
    await before.write(job)  # by a process that says no source
    await before.connection.execute("SET genrelay.source = 'https://elsewhere.example'")
    await before.write(job, "job.progress")
    assert await before.sources() == [OURS, OURS, "https://elsewhere.example"]
