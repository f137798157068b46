"""Counting an account's open jobs costs what is open, not what has ended; the keys' use is read from what is open, too."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from service.db.sql import queries

ACCOUNT = UUID(int=1)
FILL = """
INSERT INTO accounts (id, name) VALUES ('00000000-0000-0000-0000-000000000001', 'busy');
INSERT INTO jobs (id, account_id, provider, operation, status, test_status, deadline_at, due_at, completed_at, deadline_seconds)
SELECT lpad(to_hex(n), 32, '0')::uuid, '00000000-0000-0000-0000-000000000001', 'novita', 'txt2img',
       CASE WHEN n % 2000 = 0 THEN 'queued' ELSE 'canceled' END, 'TASK_STATUS_SUCCEED', now(),
       CASE WHEN n % 2000 = 0 THEN now() END, CASE WHEN n % 2000 <> 0 THEN now() END, 3600
FROM generate_series(1, 100000) n;
INSERT INTO attempts (job_id, number, run, worker_id, token_key) SELECT id, 1, 1, id, '\\x01' FROM jobs;
"""


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Any]:
    """A database with 100,000 jobs of one account, 50 of them open."""
    connection = await asyncpg.connect(database_url)
    await connection.execute(FILL)
    await connection.execute("VACUUM ANALYZE")
    yield connection
    await connection.close()


async def cost(db: Any, name: str, *values: Any) -> tuple[int, str]:
    """Return how many pages a query has looked at, and its plan."""
    plan = await db.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {getattr(queries(), name).sql}", *values)
    top = json.loads(plan)[0]["Plan"]
    return top["Shared Hit Blocks"] + top["Shared Read Blocks"], plan


async def test_counting_open_jobs_looks_at_few_pages_and_stops_where_it_may(db: Any) -> None:
    pages, plan = await cost(db, "count_open_jobs", ACCOUNT, 1000)
    assert "jobs_by_account_and_status" in plan
    assert pages < 50, plan
    assert await queries().count_open_jobs(db, account_id=ACCOUNT, most=1000) == 50
    assert await queries().count_open_jobs(db, account_id=ACCOUNT, most=7) == 7


async def test_the_use_of_keys_is_counted_among_open_jobs_only(db: Any) -> None:
    pages, plan = await cost(db, "count_jobs_by_token_key")
    assert "Seq Scan" not in plan
    assert pages < 500, plan
    [row] = [row async for row in queries().count_jobs_by_token_key(db)]
    assert (row["token_key"], row["jobs"]) == (b"\x01", 50)
