"""With 50,000 jobs, what runs all the time goes through an index."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from service.db.sql import FOLDER, queries

ACCOUNT, JOB = UUID(int=1), UUID(int=25_000)
FILL = """
INSERT INTO accounts (id, name) SELECT lpad(to_hex(n), 32, '0')::uuid, n::text FROM generate_series(1, 200) n;
INSERT INTO destinations (id, account_id, name, spec, secret, deleted_at)
SELECT lpad(to_hex(n), 32, '0')::uuid, lpad(to_hex(1 + n % 200), 32, '0')::uuid, n::text, '{}',
       CASE WHEN n % 3 > 0 OR n % 1000 = 0 THEN 'secret'::bytea END, CASE WHEN n % 3 = 0 THEN now() - interval '1 day' END
FROM generate_series(1, 5000) n;
INSERT INTO jobs (id, account_id, provider, operation, status, test_status, submit_state, provider_task_id, verified_by,
                  deadline_seconds, deadline_at, completed_at, due_at, created_at, destination_id)
SELECT lpad(to_hex(n), 32, '0')::uuid, lpad(to_hex(1 + n % 200), 32, '0')::uuid, 'novita', 'txt2img', state,
       'TASK_STATUS_SUCCEED', NULL, 'task-' || n, CASE WHEN state = 'succeeded' THEN 'token' END, 60, now(),
       CASE WHEN state = 'succeeded' THEN now() END,
       CASE WHEN state = 'running' THEN now() + make_interval(secs => n - 200) END,
       now() - make_interval(secs => n), lpad(to_hex(1 + n % 20), 32, '0')::uuid
FROM (SELECT n, CASE WHEN n % 30 = 0 THEN 'running' ELSE 'succeeded' END AS state FROM generate_series(1, 50000) n) given;
INSERT INTO callbacks (id, job_id, attempt, headers, body, digest, verdict, judged_at, received_at)
SELECT gen_random_uuid(), lpad(to_hex(n), 32, '0')::uuid, 1, '', '{}', sha256(n::text::bytea),
       CASE WHEN n % 1000 > 0 THEN 'confirmed' END, CASE WHEN n % 1000 > 0 THEN now() END, now() - interval '1 hour'
FROM generate_series(1, 50000) n;
INSERT INTO outputs (job_id, index, kind, status) SELECT id, 0, 'image', 'mock' FROM jobs;
INSERT INTO events (job_id, sequence, id, account_id, run, type, time, data)
SELECT id, 1, gen_random_uuid(), account_id, 1, 'job.queued', now(), '{}' FROM jobs;
"""
LIST = {
    "status": None, "provider": None, "operation": None, "destination": None, "test": None, "created_after": None,
    "created_before": None, "metadata": "{}", "before": None, "limit": 21,
}  # fmt: skip
ARRAYS: dict[str, Any] = {
    "ids": [UUID(int=1)], "job_ids": [JOB], "attempts": [1], "headers": [b""], "bodies": [b""], "digests": [b""],
    "kept": 32,
}  # fmt: skip

PLANS: list[tuple[str, dict[str, Any]]] = [
    ("overdue_jobs", {"grace": 10.0, "full": ["modelslab"], "limit": 500}),
    ("forgotten_callbacks", {"grace": 10.0, "limit": 500}),
    ("list_jobs", {"account_id": ACCOUNT, **LIST}),
    ("list_jobs", {"account_id": ACCOUNT, **LIST, "status": "running"}),
    ("list_jobs", {"account_id": ACCOUNT, **LIST, "before": JOB}),
    ("list_outputs_of", {"job_ids": [JOB]}),
    ("insert_callbacks", ARRAYS),
    ("unjudged_callbacks", {"job_id": JOB}),
    ("has_unjudged_callbacks", {"job_id": JOB}),
    ("list_callbacks", {"job_id": JOB, "after": UUID(int=0), "limit": 21}),
    ("judge_callbacks", {"job_id": JOB, "ids": [UUID(int=1)], "verdicts": ["late"]}),
    ("list_events", {"job_id": JOB, "after": 0, "limit": 21}),
    ("lock_job", {"id": JOB}),
    ("origin_of", {"job_id": JOB}),
    ("manifest_facts", {"job_id": JOB}),
    ("earlier_outputs", {"job_id": JOB, "index": 0}),
    ("turn_to_earlier", {"job_id": JOB}),
    ("insert_copied_outputs", {"id": JOB, "original": JOB}),
    ("rebind_job", {"id": JOB}),
    ("forget_secrets", {}),
    ("count_spooled", {"within": 86_400.0}),
    ("task_belongs_to_another", {"provider": "novita", "task_id": "task-7", "job_id": JOB}),
]
BIG = {"jobs", "callbacks", "outputs", "events"}


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    """A connection to a database with 50,000 jobs."""
    connection = await asyncpg.connect(database_url)
    await connection.execute(FILL)
    await connection.execute("VACUUM ANALYZE")
    yield connection
    await connection.close()


def scans(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Return every scan of a plan."""
    if "Relation Name" in plan or "Index Name" in plan:
        yield plan
    for part in plan.get("Plans", []):
        yield from scans(part)


def arguments(query: Any, values: dict[str, Any]) -> list[Any]:
    """Return the values in the order of the query's numbered parameters, which is that of their first use."""
    [text] = re.findall(rf"-- name: {query.__name__}\(.*?\n(.*?)(?=-- name:|\Z)", _all_queries(), re.DOTALL)
    code = re.sub(r"--.*", "", text)
    return [values[name] for name in dict.fromkeys(re.findall(r"(?<!:):([a-z_]+)", code))]


def _all_queries() -> str:
    return "\n".join(path.read_text(encoding="utf-8") for path in FOLDER.glob("*.sql"))


async def _explain(db: Any, name: str, values: dict[str, Any]) -> list[dict[str, Any]]:
    query: Any = getattr(queries(), name)
    async with db.transaction():
        answer = await db.fetchval(f"EXPLAIN (FORMAT JSON) {query.sql}", *arguments(query, values))
    return list(scans(json.loads(answer)[0]["Plan"]))


async def test_what_runs_all_the_time_goes_through_the_indexes_that_were_made_for_it(db: Any) -> None:
    await _check_indexes(db)
    for name, values in PLANS:
        scans = await _explain(db, name, values)
        slow = [scan.get("Relation Name") for scan in scans if scan["Node Type"] == "Seq Scan"]
        assert not BIG & set(slow), f"{name}: {scans}"


async def _check_indexes(db: Any) -> None:
    wanted = [
        ("overdue_jobs", PLANS[0][1], "jobs_due"),
        ("forgotten_callbacks", PLANS[1][1], "callbacks_unjudged"),
        ("list_jobs", PLANS[2][1], "jobs_by_account"),
        ("list_jobs", PLANS[3][1], "jobs_by_account_and_status"),
        ("unjudged_callbacks", {"job_id": JOB}, "callbacks_pkey"),
        ("insert_callbacks", ARRAYS, "callbacks_pkey"),
        ("beat", {"id": UUID(int=7), "alert_seconds": 600.0}, "jobs_to_copy"),
        ("forget_secrets", {}, "destinations_to_forget"),
        ("forget_secrets", {}, "jobs_by_account_and_status"),
    ]
    for name, values, index in wanted:
        used = {scan.get("Index Name") for scan in await _explain(db, name, values)}
        assert index in used, f"{name}: {used}"
