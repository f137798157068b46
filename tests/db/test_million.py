"""A million jobs that have ended cost nobody anything: what runs all the time reads as few pages as with ten thousand.

Every job has an event, its place in the feed, an attempt and an output; every second one a callback and a delivery. Rows
are narrow: pages are counted, of which wider rows would fill more, but not of an index.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from service.db.embedded import EmbeddedServer
from service.db.pool import Connection
from service.db.sql import queries
from tests.database import TEMPLATE, dsn_of
from tests.db.test_plans import arguments

FEW, MANY = 10_000, 1_000_000
# Pages that one statement may touch, a batch of housekeeping, which looks ten rows up in a dozen indexes, included.
MOST = 300
BATCH = 10
_START = """
INSERT INTO accounts (id, name) SELECT lpad(to_hex(n), 32, '0')::uuid, n::text FROM generate_series(1, 200) n;
INSERT INTO api_keys (id, account_id, digest, hint) SELECT id, id, sha256(name::bytea), 'x' FROM accounts;
INSERT INTO destinations (id, account_id, name, spec) SELECT id, id, 'acme', '{}' FROM accounts;
INSERT INTO subscriptions (id, account_id, url, event_types)
SELECT id, id, 'https://hooks.example/' || name, '{*}' FROM accounts;
INSERT INTO jobs (id, account_id, provider, operation, status, destination_id, provider_task_id, deadline_seconds,
                  deadline_at, due_at)
SELECT new_uuid7(), id, 'novita', 'txt2img', 'running', id, 'open-' || name, 60, now(), now() + interval '1 day'
FROM accounts;
"""
# A job's id is its number, as the high bits of a UUID: what came first sorts first, as UUIDv7 do.
_ID = "(lpad(to_hex(n), 12, '0') || repeat('0', 20))::uuid"
_ACCOUNT = "lpad(to_hex(1 + n % 200), 32, '0')::uuid"
_TABLES = {
    "jobs": f"""
INSERT INTO jobs (id, account_id, provider, operation, status, destination_id, provider_task_id, verified_by, last_event,
                  deadline_seconds, deadline_at, created_at, completed_at)
SELECT {_ID}, {_ACCOUNT}, 'novita', 'txt2img', 'succeeded', {_ACCOUNT}, 'task-' || n, 'readback', 1, 60, now(), now(), now()
FROM generate_series($1::int, $2::int) n""",
    "events": f"""
INSERT INTO events (job_id, sequence, id, account_id, run, type, time, data, source)
SELECT {_ID}, 1, {_ID}, {_ACCOUNT}, 1, 'job.succeeded', now(), '{{}}', '' FROM generate_series($1::int, $2::int) n""",
    "feed": f"""
INSERT INTO feed (account_id, event_id, job_id, sequence)
SELECT {_ACCOUNT}, {_ID}, {_ID}, 1 FROM generate_series($1::int, $2::int) n""",
    "attempts": f"""
INSERT INTO attempts (job_id, number, run, worker_id, outcome)
SELECT {_ID}, 1, 1, {_ID}, 'accepted' FROM generate_series($1::int, $2::int) n""",
    "outputs": f"""
INSERT INTO outputs (job_id, index, kind, status)
SELECT {_ID}, 0, 'image', 'mock' FROM generate_series($1::int, $2::int) n""",
    "callbacks": f"""
INSERT INTO callbacks (id, job_id, attempt, headers, body, digest, verdict, judged_at)
SELECT {_ID}, {_ID}, 1, '', '', '', 'confirmed', now() FROM generate_series($1::int, $2::int, 2) n""",
    "deliveries": f"""
INSERT INTO deliveries (id, account_id, subscription_id, event_id, job_id, sequence, type, payload, status, due_at, ended_at)
SELECT {_ID}, {_ACCOUNT}, {_ACCOUNT}, {_ID}, {_ID}, 1, 'job.succeeded', 'full', 'delivered', NULL, now()
FROM generate_series($1::int, $2::int, 2) n""",
    "delivery_attempts": f"""
INSERT INTO delivery_attempts (delivery_id, number, started_at, seconds, outcome)
SELECT {_ID}, 1, now(), 0, 'delivered' FROM generate_series($1::int, $2::int, 2) n""",
    "idempotency_keys": f"""
INSERT INTO idempotency_keys (account_id, key, request_digest, job_id)
SELECT {_ACCOUNT}, 'order-' || n, '', {_ID} FROM generate_series($1::int, $2::int, 2) n""",
}

ACCOUNT, JOB = UUID(int=7), UUID(hex=f"{5006:012x}{0:020x}")
NOTHING = UUID(int=0)
LIST: dict[str, Any] = {
    "account_id": ACCOUNT, "status": None, "provider": None, "operation": None, "destination": None, "test": None,
    "created_after": None, "created_before": None, "metadata": "{}", "before": None, "limit": 21,
}  # fmt: skip
DELIVERIES: dict[str, Any] = {"account_id": ACCOUNT, "status": None, "event_type": None, "before": None, "limit": 21}
FEED: dict[str, Any] = {
    "account_id": ACCOUNT,
    "until": 2**62,
    "types": ["*"],
    "filter": "{}",
    "test": None,
    "limit": 21,
}
# Housekeeping walks on from where it was; here everything is younger than what it may delete.
WALK: dict[str, Any] = {
    "after": JOB, "before": UUID(int=2**128 - 1), "seconds": 86_400.0, "limit": BATCH, "bytes": 2**20, "retry": 86_400.0,
    "with_deliveries": True, "delivery": 86_400.0,
}  # fmt: skip
LANE: dict[str, Any] = {"provider": "novita", "operation": "txt2img", "window": 70.0}
STATEMENTS: list[tuple[str, dict[str, Any]]] = [
    ("beat", {"id": uuid4(), "alert_seconds": 600.0}),
    ("overdue_jobs", {"grace": 10.0, "full": [], "limit": 500}),
    ("forgotten_callbacks", {"grace": 10.0, "limit": 500}),
    ("count_queue", {"most": 1000}),
    ("count_line", {}),
    ("count_spooled", {"within": 86_400.0}),
    ("forget_secrets", {}),
    ("take_left_uploads", {"silence": 60.0, "limit": 20}),
    ("account_of_key", {"digest": b"x" * 32}),
    ("find_idempotent", {"account_id": ACCOUNT, "key": "order-7"}),
    ("count_open_jobs", {"account_id": ACCOUNT, "most": 100}),
    ("get_job", {"id": JOB, "account_id": ACCOUNT}),
    ("lock_job", {"id": JOB}),
    ("last_attempt", {"job_id": JOB}),
    ("list_outputs_of", {"job_ids": [JOB]}),
    ("count_deliveries_of_jobs", {"job_ids": [JOB]}),
    ("task_belongs_to_another", {"provider": "novita", "task_id": "task-7", "job_id": JOB}),
    ("unjudged_callbacks", {"job_id": JOB}),
    ("insert_callbacks", {"ids": [uuid4()], "job_ids": [JOB], "attempts": [1], "headers": [b""], "bodies": [b""],
                          "digests": [b""], "kept": 32}),
    ("list_jobs", LIST),
    ("list_jobs", {**LIST, "status": "succeeded"}),
    ("list_jobs", {**LIST, "status": "running"}),
    ("list_jobs", {**LIST, "before": JOB}),
    ("list_events", {"job_id": JOB, "after": 0, "limit": 21}),
    ("list_deliveries", DELIVERIES),
    ("list_deliveries_of_job", {**DELIVERIES, "job_id": JOB}),
    ("list_deliveries_of_subscription", {**DELIVERIES, "subscription_id": ACCOUNT, "job_id": None}),
    ("claim_deliveries", {"worker_id": uuid4(), "lease": 25.0, "room": 128, "width": 16, "breaker_failures": 5,
                          "most_of_account": 96, "accounts": [], "under_way": []}),
    ("rest_subscriptions", {"ids": [ACCOUNT]}),
    ("wake_overslept", {"after": NOTHING, "limit": 100}),
    ("place_events", {"most": 1000}),
    ("newest_position", {}),
    ("scan_feed", {"after": 9_900, "limit": 50}),
    ("read_feed", {**FEED, "after": 0}),
    ("find_in_feed", {"account_id": ACCOUNT, "event_id": JOB}),
    ("oldest_in_feed", {"account_id": ACCOUNT}),
    ("get_events", {"ids": [JOB]}),
    ("waiting_lanes", {}),
    ("survey_lanes", {"provider": "novita", "operations": ["", "txt2img"], "window": 70.0, "slots": True, "images": True}),
    ("next_in_line", {**LANE, "turn": ACCOUNT, "most": 64}),
    ("purge_inputs", WALK),
    ("purge_inline", WALK),
    ("purge_idempotency_keys", WALK),
    ("purge_engine_log", WALK),
    ("purge_grants", WALK),
    ("purge_line", WALK),
    ("purge_orphans", WALK),
    ("purge_callbacks", WALK),
    ("purge_deliveries", WALK),
    ("purge_events", WALK),
    ("purge_account_events", WALK),
    ("purge_destination_events", WALK),
    ("purge_jobs", WALK),
    ("purge_feed", WALK),
    ("purge_dead_letters", WALK),
    ("purge_callbacks", {**WALK, "seconds": -1.0}),
    ("purge_deliveries", {**WALK, "seconds": -1.0}),
]  # fmt: skip

_REFERENCES_WITHOUT_INDEX = """
SELECT conrelid::regclass::text AS of, attname AS column
FROM pg_constraint JOIN pg_attribute ON attrelid = conrelid AND attnum = conkey[1]
WHERE contype = 'f' AND NOT EXISTS (SELECT FROM pg_index WHERE indrelid = conrelid AND indkey[0] = conkey[1])
"""


@pytest.fixture
async def dsn(postgres: EmbeddedServer) -> AsyncIterator[str]:
    """A database of this test's own, which has no jobs yet."""
    name = f"million_{uuid4().hex}"
    server = await asyncpg.connect(postgres.dsn)
    await server.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    yield dsn_of(postgres.dsn, name)
    await server.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await server.close()


async def fill(dsn: str, first: int, last: int) -> None:
    """Add jobs by number, with what they have; on two connections, as many as there are cores at least."""
    tables = asyncio.Queue[tuple[str, str]]()
    for each in _TABLES.items():
        tables.put_nowait(each)

    async def one() -> None:
        connection = await asyncpg.connect(dsn, server_settings={"session_replication_role": "replica"})
        await connection.execute("SET maintenance_work_mem = '128MB'")
        while not tables.empty():
            table, statement = tables.get_nowait()
            indexes = await connection.fetch(
                "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = $1 AND NOT EXISTS"
                " (SELECT FROM pg_constraint WHERE conindid = indexname::regclass)", table,
            )  # fmt: skip
            for index in indexes:
                await connection.execute(f"DROP INDEX {index['indexname']}")
            await connection.execute(statement, first, last)
            for index in indexes:
                await connection.execute(index["indexdef"])
            await connection.execute(f"VACUUM ANALYZE {table}")
        await connection.close()

    await asyncio.gather(one(), one())


async def pages(db: Connection, name: str, values: dict[str, Any]) -> int:
    """Run a statement, take it back, and return how many pages it touched."""
    query: Any = getattr(queries(), name)
    transaction = db.transaction()
    await transaction.start()
    try:
        text = await db.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {query.sql}", *arguments(query, values))
    finally:
        await transaction.rollback()
    plan = json.loads(text)[0]["Plan"]
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


async def measure(dsn: str) -> list[int]:
    """Return how many pages each statement touches, when it is asked for the second time: the first one loads catalogs."""
    db = await asyncpg.connect(dsn)
    await db.execute("VACUUM ANALYZE")
    found = [await pages(db, *each) for _ in range(2) for each in STATEMENTS]
    await db.close()
    return found[len(STATEMENTS) :]


@pytest.mark.timeout(300)
async def test_a_million_ended_jobs_make_no_statement_read_more(dsn: str) -> None:
    db = await asyncpg.connect(dsn)
    await db.execute(_START)
    await db.close()
    await fill(dsn, 1, FEW)
    few = await measure(dsn)
    await fill(dsn, FEW + 1, MANY)
    many = await measure(dsn)
    listed = "\n".join(
        f"{name}: {before} -> {after}" for (name, _), before, after in zip(STATEMENTS, few, many, strict=True)
    )
    assert max(many) <= MOST, listed
    # An index grows by a level: where two pages were read, there are three.
    assert all(after <= before * 1.5 + 2 for before, after in zip(few, many, strict=True)), listed


async def test_what_is_deleted_is_found_by_an_index_in_whatever_refers_to_it(database_url: str) -> None:
    """Else each deleted row would read a whole table, where no plan shows it."""
    db = await asyncpg.connect(database_url)
    bare = await db.fetch(_REFERENCES_WITHOUT_INDEX)
    await db.close()
    # An account has few keys.
    assert {(row["of"], row["column"]) for row in bare} == {("api_keys", "account_id")}
