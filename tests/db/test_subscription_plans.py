"""An account with a webhook for every job: neither the next job nor any event looks at those of the others."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from service.db.sql import queries

ACCOUNT = UUID(int=1)
FILL = """
INSERT INTO accounts (id, name) VALUES (lpad('1', 32, '0')::uuid, 'one');
INSERT INTO subscriptions (id, account_id, origin, url, event_types)
SELECT lpad(to_hex(n), 32, '0')::uuid, lpad('1', 32, '0')::uuid, CASE WHEN n <= 5 THEN 'api' ELSE 'job' END,
       'https://consumer.example/' || n, '{*}'
FROM generate_series(1, 20000) n;
INSERT INTO jobs (id, account_id, provider, operation, status, test_status, deadline_seconds, deadline_at, due_at, webhook_id)
SELECT id, account_id, 'novita', 'txt2img', 'queued', 'TASK_STATUS_SUCCEED', 60, now(), now(), id FROM subscriptions;
"""
JOB = {
    "id": UUID(int=2**64), "account_id": ACCOUNT, "provider": "novita", "operation": "txt2img",
    "test_status": "TASK_STATUS_SUCCEED", "destination": None, "destination_id": None, "storage": None, "metadata": "{}",
    "webhook_events": None, "webhook_payload": "full", "on_unclear": "fail", "deadline_seconds": 60, "images": 1,
    "track_id": None, "input_sha256": bytes(32), "traceparent": None, "new_webhook_id": UUID(int=2**65),
}  # fmt: skip
EVENT = """
INSERT INTO events (job_id, sequence, id, account_id, run, type, time, data)
VALUES ($1, 1, gen_random_uuid(), $2, 1, 'job.queued', now(), '{"job": {"test": true}}')
"""
TOUCHED = """
SELECT coalesce(sum(seq_scan), 0) AS scans, coalesce(sum(idx_tup_fetch), 0) AS fetched
FROM pg_stat_xact_user_tables WHERE relname = 'subscriptions'
"""


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    """A connection to a database with 20,000 webhooks of jobs in one account."""
    connection = await asyncpg.connect(database_url)
    await connection.execute(FILL)
    await connection.execute("VACUUM ANALYZE")
    yield connection
    await connection.close()


async def _touched(db: Any, statement: Any) -> tuple[int, int]:
    """Run a statement; return how often it, with its triggers, read through all subscriptions, and how many rows it fetched."""
    async with db.transaction():
        before = await db.fetchrow(TOUCHED)
        await statement
        after = await db.fetchrow(TOUCHED)
    return int(after["scans"] - before["scans"]), int(after["fetched"] - before["fetched"])


async def test_an_event_is_compared_with_those_of_the_account_and_the_jobs_own(db: Any) -> None:
    scans, fetched = await _touched(db, db.execute(EVENT, UUID(int=10_000), ACCOUNT))
    assert scans == 0
    # Five, the job's own one, and once more each for the foreign key of what is delivered.
    assert fetched <= 12
    rows = await db.fetch("SELECT subscription_id FROM deliveries")
    assert len(rows) == 1, "the five want no tests"


@pytest.mark.parametrize("number", [10_000, 30_000])
async def test_a_job_finds_or_makes_its_own_without_looking_at_others(db: Any, number: int) -> None:
    values = {**JOB, "webhook": f"https://consumer.example/{number}"}
    scans, fetched = await _touched(db, queries().insert_job(db, **values))
    assert scans == 0
    assert fetched <= 3
    wanted = UUID(int=number) if number <= 20_000 else JOB["new_webhook_id"]
    assert await db.fetchval("SELECT webhook_id FROM jobs WHERE id = $1", JOB["id"]) == wanted


async def test_lists_go_through_an_index(db: Any) -> None:
    async def read_list(origin: str) -> int:
        rows = queries().list_subscriptions(db, account_id=ACCOUNT, origin=origin, before=UUID(int=15_000), limit=21)
        return len([row async for row in rows])

    for origin, count in (("api", 5), ("job", 21)):
        scans, fetched = await _touched(db, read_list(origin))
        assert (scans, fetched) == (0, count), origin
    scans, fetched = await _touched(db, queries().count_subscriptions(db, account_id=ACCOUNT))
    assert (scans, fetched <= 5) == (0, True)
