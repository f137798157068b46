"""With 100,000 events, whatever reads the feed goes through an index, and looks at no more than it returns."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from service.db.sql import queries
from tests.db.test_plans import arguments, scans

ACCOUNT, QUIET, JOB = UUID(int=1), UUID(int=50), UUID(int=500)
FILL = """
INSERT INTO accounts (id, name) SELECT lpad(to_hex(n), 32, '0')::uuid, n::text FROM generate_series(1, 50) n;
INSERT INTO jobs (id, account_id, provider, operation, status, test_status, submit_state, deadline_seconds, deadline_at, due_at)
SELECT lpad(to_hex(n), 32, '0')::uuid, lpad(to_hex(CASE WHEN n % 100 = 0 THEN n / 100 % 49 + 2 ELSE 1 END), 32, '0')::uuid,
       'novita', 'txt2img', 'queued', 'TASK_STATUS_SUCCEED', NULL, 60, now(), now() FROM generate_series(1, 10000) n;
INSERT INTO events (job_id, sequence, id, account_id, run, type, time, data)
SELECT id, n, gen_random_uuid(), account_id, 1, 'job.running', now(), '{"job": {"test": true}}'
FROM jobs, generate_series(1, 10) n;
INSERT INTO account_events (id, account_id, type, subject, data)
SELECT gen_random_uuid(), id, 'destination.failing', 'acme', '{}' FROM accounts, generate_series(1, 400) n;
"""
READ = {"types": ["*"], "filter": "{}", "test": None, "limit": 32}
PLANS: list[tuple[str, dict[str, Any], str]] = [
    ("read_feed", {"account_id": ACCOUNT, "after": 0, "until": 2**63 - 1, **READ}, "feed_of_account"),
    ("read_feed", {"account_id": ACCOUNT, "after": 119_000, "until": 119_500, **READ}, "feed_of_account"),
    ("read_feed", {"account_id": QUIET, "after": 50_000, "until": 2**63 - 1, **READ}, "feed_of_account"),
    (
        "read_feed",
        {"account_id": ACCOUNT, "after": 0, "until": 2**63 - 1, **READ, "types": ["job.queued"]},
        "events_by_id",
    ),
    ("scan_feed", {"after": 119_000, "limit": 1000}, "feed_pkey"),
    ("newest_position", {}, "feed_pkey"),
    ("get_events", {"ids": [UUID(int=n) for n in range(100)]}, "events_by_id"),
    ("find_in_feed", {"account_id": ACCOUNT, "event_id": UUID(int=3)}, "feed_event_id_key"),
    ("find_in_job", {"account_id": ACCOUNT, "job_id": JOB, "event_id": UUID(int=3)}, "events_by_id"),
    ("list_events", {"job_id": JOB, "after": 3, "limit": 32}, "events_pkey"),
]
BIG = {"events", "feed", "account_events"}


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    """A connection to a database with 120,000 events, nearly all of one account, in the feed."""
    connection = await asyncpg.connect(database_url)
    await connection.execute(FILL)
    while await connection.fetchval("SELECT place_events(20000)") == 20_000:
        pass
    await connection.execute("VACUUM ANALYZE")
    yield connection
    await connection.close()


async def test_the_feed_is_read_through_its_indexes(db: Any) -> None:
    for name, values, index in PLANS:
        query: Any = getattr(queries(), name)
        answer = await db.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {query.sql}", *arguments(query, values))
        found = list(scans(json.loads(answer)[0]["Plan"]))
        slow = [scan.get("Relation Name") for scan in found if scan["Node Type"] == "Seq Scan"]
        assert not BIG & set(slow), f"{name}: {found}"
        assert index in {scan.get("Index Name") for scan in found}, f"{name}: {found}"
        read = sum(
            (scan["Actual Rows"] + scan.get("Rows Removed by Filter", 0)) * scan["Actual Loops"] for scan in found
        )
        assert read <= 3 * values.get("limit", 100), f"{name}: {read}"


async def test_a_kept_plan_reads_the_feed_as_well_as_a_fresh_one(db: Any) -> None:
    await db.execute("SET plan_cache_mode = force_generic_plan")
    await test_the_feed_is_read_through_its_indexes(db)
