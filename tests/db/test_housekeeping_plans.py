"""With 60,000 old jobs housekeeping reads what it deletes and little else, and what names a thing is found by an index."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from service.db.sql import queries
from tests.db.test_plans import arguments, scans

# A UUIDv7 of so many seconds ago.
_AGED = """
CREATE FUNCTION pg_temp.aged(seconds float8) RETURNS uuid LANGUAGE sql VOLATILE AS $$
    SELECT encode(set_bit(set_bit(overlay(uuid_send(gen_random_uuid()) PLACING
        substring(int8send(floor(extract(epoch FROM now() - make_interval(secs => seconds)) * 1000)::bigint) FROM 3)
        FROM 1 FOR 6), 52, 1), 53, 1), 'hex')::uuid
$$
"""
# All of them older than any retention.
_FILL = """
INSERT INTO accounts (id, name) SELECT lpad(to_hex(n), 32, '0')::uuid, n::text FROM generate_series(1, 100) n;
INSERT INTO destinations (id, account_id, name, spec, deleted_at)
SELECT pg_temp.aged(86400 * 600 - n), lpad(to_hex(1 + n % 100), 32, '0')::uuid, n::text, '{}',
    CASE WHEN n % 2 = 0 THEN now() - interval '1 day' END
FROM generate_series(1, 2000) n;
INSERT INTO subscriptions (id, account_id, origin, url, event_types, deleted_at)
SELECT pg_temp.aged(86400 * 600 - n), lpad(to_hex(1 + n % 100), 32, '0')::uuid, CASE WHEN n % 2 = 0 THEN 'job' ELSE 'api' END,
    'https://example.com/' || n, '{*}', CASE WHEN n % 3 = 0 THEN now() END
FROM generate_series(1, 20000) n;
CREATE TEMP TABLE d AS SELECT id, row_number() OVER () - 1 AS n FROM destinations;
CREATE TEMP TABLE s AS SELECT id, row_number() OVER () - 1 AS n FROM subscriptions;
INSERT INTO jobs (id, account_id, provider, operation, status, destination_id, webhook_id, verified_by, deadline_seconds,
                  deadline_at, completed_at, created_at)
SELECT pg_temp.aged(86400 * 500 - j.n), lpad(to_hex(1 + j.n % 100), 32, '0')::uuid, 'novita', 'txt2img', 'succeeded', d.id,
       s.id, 'readback', 60, now(), now() - interval '400 days', now() - interval '500 days'
FROM generate_series(1, 60000) AS j (n) JOIN d ON d.n = j.n % 2000 JOIN s ON s.n = j.n % 20000;
INSERT INTO attempts (job_id, number, run, worker_id, outcome, ended_at) SELECT id, 1, 1, id, 'accepted', now() FROM jobs;
INSERT INTO outputs (job_id, index, kind, status) SELECT id, 0, 'image', 'mock' FROM jobs;
INSERT INTO events (job_id, sequence, id, account_id, run, type, time, data)
SELECT id, 1, overlay(id::text placing '7777' from 25)::uuid, account_id, 1, 'job.queued', now() - interval '400 days', '{}'
FROM jobs;
INSERT INTO feed (account_id, event_id, job_id, sequence) SELECT account_id, id, job_id, 1 FROM events ORDER BY id;
INSERT INTO callbacks (id, job_id, attempt, headers, body, digest, verdict, judged_at, received_at)
SELECT gen_random_uuid(), id, 1, '', '{}', sha256(id::text::bytea), 'confirmed', now(), now() - interval '400 days' FROM jobs;
INSERT INTO deliveries (id, account_id, subscription_id, event_id, job_id, sequence, type, payload, status, due_at, ended_at)
SELECT overlay(jobs.id::text placing '5555' from 25)::uuid, jobs.account_id, webhook_id, events.id, jobs.id, 1, 'job.queued',
    'full', 'delivered', NULL, now() - interval '400 days'
FROM jobs JOIN events ON events.job_id = jobs.id;
INSERT INTO account_events (id, account_id, type, subject, data)
SELECT pg_temp.aged(86400 * 500 - n), lpad(to_hex(1 + n % 100), 32, '0')::uuid, 'x', 'y', '{}' FROM generate_series(1, 20000) n;
INSERT INTO destination_events (id, account_id, destination_id, type, data)
SELECT pg_temp.aged(86400 * 500), account_id, id, 'destination.failing', '{}' FROM destinations, generate_series(1, 5);
INSERT INTO dead_letters (id, job_id, task, reason) SELECT pg_temp.aged(86400 * 500), id, 'copy', 'x' FROM jobs LIMIT 20000;
INSERT INTO idempotency_keys (account_id, key, request_digest, job_id, created_at)
SELECT account_id, id::text, '', id, now() FROM jobs;
"""
# Their rows keep one another: jobs with a pending delivery, and so on.
_KEEP = """
UPDATE jobs SET completed_at = now();
UPDATE events SET time = now();
UPDATE deliveries SET ended_at = now();
UPDATE callbacks SET received_at = now();
"""
_BIG = {
    "jobs", "callbacks", "outputs", "events", "feed", "deliveries", "attempts", "dead_letters", "subscriptions",
    "account_events", "destination_events", "idempotency_keys",
}  # fmt: skip
_FIRST, _LAST = UUID(int=0), UUID(int=2**128 - 1)
_DAY = 86_400.0
_WALKS: dict[str, dict[str, Any]] = {
    "purge_callbacks": {"seconds": 30 * _DAY, "limit": 500, "bytes": 2**26},
    "purge_deliveries": {"seconds": 30 * _DAY, "limit": 1000},
    "purge_events": {"seconds": 90 * _DAY, "limit": 1000, "with_deliveries": True},
    "purge_account_events": {"limit": 500, "with_deliveries": True},
    "purge_destination_events": {"limit": 500},
    "purge_jobs": {"seconds": 180 * _DAY, "retry": _DAY, "limit": 200, "bytes": 2**26},
    "purge_feed": {"limit": 1000},
    "purge_dead_letters": {"limit": 500},
    "purge_subscriptions": {"limit": 500},
    "purge_destinations": {"limit": 500},
}
_OTHERS: dict[str, dict[str, Any]] = {
    "purge_orphans": {"seconds": _DAY, "limit": 500},
    "purge_idempotency_keys": {"limit": 1000},
    "delete_jobs": {"ids": [UUID(int=7)]},
    "is_being_copied": {"id": UUID(int=7)},
    "lock_jobs_to_erase": {"account_id": UUID(int=7), "after": _FIRST, "limit": 100},
    "open_jobs_of": {"account_id": UUID(int=7), "limit": 100},
    "oldest_in_feed": {"account_id": UUID(int=7)},
    "oldest_in_job": {"job_id": UUID(int=7)},
    "is_event_kept": {"id": UUID(int=7)},
    "resend_delivery": {"id": UUID(int=7), "account_id": UUID(int=7)},
}
# Tables that refer to another one without an index on it: with few rows, or none of an erased account.
_SMALL = {("api_keys", "account_id")}
_FOREIGN_KEYS = """
SELECT conrelid::regclass::text AS of, attname AS name, confrelid::regclass::text AS target,
    EXISTS (SELECT FROM pg_index WHERE indrelid = conrelid AND indkey[0] = conkey[1]
            AND (indpred IS NULL OR pg_get_expr(indpred, indrelid) = '(' || attname || ' IS NOT NULL)')) AS indexed
FROM pg_constraint JOIN pg_attribute ON attrelid = conrelid AND attnum = conkey[1]
WHERE contype = 'f' AND connamespace = 'public'::regnamespace
"""


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    """A connection to a database with 60,000 jobs that nobody needs any more."""
    connection = await asyncpg.connect(database_url)
    await connection.execute(_AGED)
    # Neither foreign keys nor triggers: it is what they would have let in.
    await connection.execute(f"SET session_replication_role = replica; {_FILL}; RESET session_replication_role")
    await connection.execute("VACUUM ANALYZE")
    yield connection
    await connection.close()


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", []):
        yield from _nodes(part)


async def _explain(db: Any, name: str, values: dict[str, Any], how: str = "") -> dict[str, Any]:
    query: Any = getattr(queries(), name)
    answer = await db.fetchval(f"EXPLAIN ({how}FORMAT JSON) {query.sql}", *arguments(query, values))
    plan: dict[str, Any] = json.loads(answer)[0]["Plan"]
    return plan


async def _read(db: Any, name: str, values: dict[str, Any]) -> float:
    """Run a statement, take it back, and return how many rows its scans have read."""
    transaction = db.transaction()
    await transaction.start()
    try:
        plan = await _explain(db, name, values, "ANALYZE, TIMING off, ")
    finally:
        await transaction.rollback()
    tables = [scan for scan in scans(plan) if scan.get("Relation Name") in _BIG]
    return sum((scan["Actual Rows"] + scan.get("Rows Removed by Filter", 0)) * scan["Actual Loops"] for scan in tables)


@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
async def test_nothing_of_it_reads_a_big_table_as_a_whole(db: Any, mode: str) -> None:
    await db.execute(f"SET plan_cache_mode = {mode}")
    for name, values in {**_WALKS, **_OTHERS}.items():
        given = {"after": _FIRST, "before": _LAST, **values}
        found = list(scans(await _explain(db, name, given)))
        slow = {scan.get("Relation Name") for scan in found if scan["Node Type"] == "Seq Scan"}
        assert not _BIG & slow, f"{name}: {slow & _BIG}"


async def test_a_batch_reads_what_it_deletes_and_the_end_of_a_walk_reads_nothing(db: Any) -> None:
    for name, values in _WALKS.items():
        read = await _read(db, name, {"after": _FIRST, "before": _LAST, **values})
        # An account's event is looked for among the deliveries to each of its subscriptions, of which each here has a hundred.
        most = 200 if name == "purge_account_events" else 40
        assert 0 < read <= most * values["limit"], name
        assert await _read(db, name, {"after": _LAST, "before": _LAST, **values}) == 0, name


async def test_what_must_be_kept_is_read_once_by_a_walk(db: Any) -> None:
    await db.execute(_KEEP)
    await db.execute("VACUUM ANALYZE")
    for name in ("purge_callbacks", "purge_deliveries", "purge_events", "purge_jobs", "purge_feed"):
        values = {"after": _FIRST, "before": _LAST, **_WALKS[name]}
        query: Any = getattr(queries(), name)
        row = await query(db, **values)
        assert row["deleted"] == 0
        assert row["last"] > _FIRST
        assert await _read(db, name, values) <= 40 * values["limit"], name
        assert (await query(db, **{**values, "after": row["last"]}))["last"] > row["last"]


async def test_every_foreign_key_leads_to_what_names_a_thing_by_an_index(db: Any) -> None:
    found = await db.fetch(_FOREIGN_KEYS)
    assert len(found) > 15
    assert {(row["of"], row["name"]) for row in found if not row["indexed"]} <= _SMALL
