"""With 200,000 deliveries done and 100,000 waiting for one dead endpoint, what is due is found through the index."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from service.db.sql import queries
from tests.db.test_plans import arguments, scans

FILL = """
SET session_replication_role = replica;
INSERT INTO accounts (id, name) VALUES ('00000000-0000-0000-0000-000000000001', 'default');
INSERT INTO subscriptions (id, account_id, url, event_types)
SELECT lpad(to_hex(n), 32, '0')::uuid, '00000000-0000-0000-0000-000000000001', 'https://hooks.example/' || n, '{*}'
FROM generate_series(1, 100) n;
INSERT INTO events (job_id, sequence, id, account_id, run, type, time, data)
SELECT new_uuid7(), 1, lpad(to_hex(n), 32, '0')::uuid, '00000000-0000-0000-0000-000000000001', 1, 'job.progress', now(), '{}'
FROM generate_series(1, 3000) n;
INSERT INTO deliveries (id, account_id, subscription_id, event_id, job_id, sequence, type, payload, status, due_at, ended_at)
SELECT new_uuid7(), '00000000-0000-0000-0000-000000000001', lpad(to_hex(n % 100 + 1), 32, '0')::uuid,
       lpad(to_hex(n), 32, '0')::uuid, lpad(to_hex(n / 7), 32, '0')::uuid, n % 7 + 1, 'job.progress', 'full', 'delivered',
       NULL, now()
FROM generate_series(1, 200000) n;
INSERT INTO deliveries (id, account_id, subscription_id, event_id, job_id, sequence, type, payload, due_at)
SELECT new_uuid7(), '00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-000000000007',
       lpad(to_hex(n), 32, '0')::uuid, lpad(to_hex(n / 7), 32, '0')::uuid, n % 7 + 1, 'job.progress', 'full',
       now() - make_interval(secs => 1000 - n / 1000)
FROM generate_series(1000001, 1100000) n;
INSERT INTO deliveries (id, account_id, subscription_id, event_id, job_id, sequence, type, payload)
SELECT new_uuid7(), '00000000-0000-0000-0000-000000000001', lpad(to_hex(n), 32, '0')::uuid,
       lpad(to_hex(n), 32, '0')::uuid, lpad(to_hex(n), 32, '0')::uuid, 1, 'job.progress', 'full'
FROM generate_series(11, 30) n ON CONFLICT DO NOTHING;
UPDATE subscriptions SET open_until = now() + interval '1 hour', failures = 9 WHERE id = '00000000-0000-0000-0000-000000000007';
UPDATE subscriptions SET look_at = now() WHERE id IN (SELECT subscription_id FROM deliveries WHERE due_at IS NOT NULL);
SET session_replication_role = origin;
"""
ACCOUNT, DEAD, WELL = UUID(int=1), UUID(int=7), UUID(int=12)
CLAIM: dict[str, Any] = {
    "worker_id": UUID(int=5), "lease": 25.0, "room": 128, "width": 16, "breaker_failures": 5, "most_of_account": 96,
    "accounts": [], "under_way": [],
}  # fmt: skip
LIST: dict[str, Any] = {"account_id": ACCOUNT, "status": None, "event_type": None, "before": None, "limit": 21}
NOW = datetime.now(UTC)
LATELY = UUID(int=int((NOW.timestamp() + 3600) * 1000) << 80)
RECOVER: dict[str, Any] = {"since": NOW, "after": LATELY, "until": UUID(int=2**128 - 1), "limit": 500}
PLANS: list[tuple[str, dict[str, Any]]] = [
    ("claim_deliveries", CLAIM),
    ("cancel_deliveries", {"subscription_id": WELL, "reason": "gone", "limit": 2000}),
    ("cancel_stray_deliveries", {"subscription_ids": [WELL], "limit": 500}),
    ("get_delivery", {"id": UUID(int=4), "account_id": ACCOUNT}),
    ("list_deliveries", LIST),
    ("list_deliveries_of_subscription", {**LIST, "subscription_id": WELL, "job_id": None}),
    ("list_deliveries_of_job", {**LIST, "job_id": UUID(int=40)}),
    ("count_deliveries_of_jobs", {"job_ids": [UUID(int=40)]}),
    ("resend_delivery", {"id": UUID(int=4), "account_id": ACCOUNT}),
    ("recover_deliveries", {"subscription_id": WELL, **RECOVER}),
]  # fmt: skip


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    """A connection to a database with a long past and a long backlog."""
    connection = await asyncpg.connect(database_url)
    await connection.execute(FILL)
    await connection.execute("VACUUM ANALYZE")
    yield connection
    await connection.close()


async def plan_of(db: Any, name: str, values: dict[str, Any]) -> dict[str, Any]:
    """Return the plan of a query, with what it read."""
    query: Any = getattr(queries(), name)
    async with db.transaction():
        answer = await db.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {query.sql}", *arguments(query, values))
    plan: dict[str, Any] = json.loads(answer)[0]["Plan"]
    return plan


def _read(plan: dict[str, Any], table: str) -> float:
    return sum(
        scan["Actual Loops"] * (scan["Actual Rows"] + scan.get("Rows Removed by Filter", 0))
        for scan in scans(plan)
        if scan.get("Relation Name") == table
    )


async def test_neither_the_past_nor_the_backlog_of_a_dead_endpoint_is_walked_through(db: Any) -> None:
    for name, values in PLANS:
        plan = await plan_of(db, name, values)
        found = list(scans(plan))
        slow = [scan for scan in found if scan["Node Type"] == "Seq Scan" and scan.get("Relation Name") == "deliveries"]
        assert not slow, f"{name}: {json.dumps(plan, indent=1)}"
        assert _read(plan, "deliveries") <= 500, f"{name}: {json.dumps(plan, indent=1)}"


async def test_a_claim_takes_what_the_others_have_due(db: Any) -> None:
    query: Any = queries().claim_deliveries
    rows = await db.fetch(query.sql, *arguments(query, CLAIM))
    assert {row["subscription_id"].int for row in rows} <= set(range(11, 31))
    assert len(rows) >= 18
    assert not rows[0]["more"]
    assert rows[0]["pending"]


async def test_a_claim_reads_a_few_of_a_backlog_that_may_be_taken(db: Any) -> None:
    await db.execute("UPDATE subscriptions SET open_until = NULL, failures = 0")
    plan = await plan_of(db, "claim_deliveries", CLAIM)
    assert _read(plan, "deliveries") <= 500, json.dumps(plan, indent=1)


async def test_what_came_of_deliveries_is_written_through_their_keys(db: Any) -> None:
    ids = [row["id"] for row in await db.fetch("SELECT id FROM deliveries WHERE due_at <= now() LIMIT 100")]
    await db.execute("UPDATE deliveries SET worker_id = $1, attempts = 1 WHERE id = ANY($2)", UUID(int=5), ids)
    count = len(ids)
    values: dict[str, Any] = {
        "worker_id": UUID(int=5), "ids": ids, "numbers": [1] * count, "outcomes": ["failed"] * count, "statuses": [500] * count,
        "errors": ["answered 500"] * count, "responses": [b""] * count, "started": [NOW] * count, "seconds": [0.1] * count,
        "verdicts": ["pending"] * count, "reasons": [None] * count, "pauses": [5.0] * count, "slow": [0.0] * count,
        "breaker_failures": 5, "breaker_first": 5.0, "breaker_max": 300.0, "warn_after": 1e5, "disable_after": 1e6,
    }  # fmt: skip
    plan = await plan_of(db, "record_deliveries", values)
    slow = [s for s in scans(plan) if s["Node Type"] == "Seq Scan" and s.get("Relation Name") == "deliveries"]
    assert not slow, json.dumps(plan, indent=1)
    assert _read(plan, "deliveries") <= 10 * count
