"""The backlog as metrics: what is due and not begun, by task, and what counting it costs."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator

import asyncpg
import pytest
from prometheus_client import generate_latest

from service.db.pool import Pool, open_pool
from service.db.sql import queries
from service.engine.backlog import COUNTED, count_backlog
from tests.db.test_plans import scans

ACCOUNT = "00000000-0000-0000-0000-000000000001"
# Rows by numbers: {queued}, {running} and {copying} jobs that are due for as many seconds, one that is not, {done} that ended.
FILL = """
SET session_replication_role = replica;
INSERT INTO accounts (id, name) VALUES ('{account}', 'one');
INSERT INTO jobs (id, account_id, provider, operation, status, test_status, verified_by, deadline_seconds, deadline_at,
                  completed_at, due_at, provider_task_id, destination_id)
SELECT gen_random_uuid(), '{account}', 'novita', 'txt2img', status,
       CASE WHEN status <> 'copying' THEN 'TASK_STATUS_SUCCEED' END,
       CASE status WHEN 'copying' THEN 'readback' WHEN 'succeeded' THEN 'token' END, 60, now(),
       CASE WHEN status = 'succeeded' THEN now() END,
       CASE WHEN status <> 'succeeded' THEN now() - make_interval(secs => CASE n WHEN 0 THEN -60 ELSE n END) END,
       CASE WHEN status IN ('running', 'copying', 'succeeded') THEN gen_random_uuid()::text END,
       CASE WHEN status = 'copying' THEN gen_random_uuid() END
FROM (VALUES ('queued', {queued}), ('running', {running}), ('copying', {copying}), ('succeeded', {done})) given (status, count)
CROSS JOIN LATERAL generate_series(0, count) n;
INSERT INTO callbacks (id, job_id, attempt, headers, body, digest, verdict, judged_at, received_at)
SELECT gen_random_uuid(), gen_random_uuid(), 1, '', '', '', CASE WHEN n > {inbox} THEN 'late' END,
       CASE WHEN n > {inbox} THEN now() END, now() - make_interval(secs => n)
FROM generate_series(1, {inbox} + {done}) n;
INSERT INTO subscriptions (id, account_id, url, event_types, look_at)
SELECT lpad(n::text, 32, '0')::uuid, '{account}', 'https://hooks.example/' || n, '{{*}}',
       CASE n WHEN 1 THEN now() - interval '1 s' ELSE now() + interval '1 h' END
FROM generate_series(1, 2) n;
INSERT INTO deliveries (id, account_id, subscription_id, event_id, type, payload, status, due_at, ended_at)
SELECT gen_random_uuid(), '{account}', lpad((1 + n % 2)::text, 32, '0')::uuid, gen_random_uuid(), 'job.queued', 'full',
       CASE WHEN n <= 2 * {outbox} THEN 'pending' ELSE 'delivered' END,
       CASE WHEN n <= 2 * {outbox} THEN now() - make_interval(secs => n) END, CASE WHEN n > 2 * {outbox} THEN now() END
FROM generate_series(1, 2 * {outbox} + {done}) n;
INSERT INTO unplaced (event_id, account_id) SELECT gen_random_uuid(), '{account}' FROM generate_series(1, {unplaced});
INSERT INTO dead_letters (id, job_id, task, reason, retried_at)
SELECT gen_random_uuid(), gen_random_uuid(), 'copy', '', CASE WHEN n > {dead} THEN now() END
FROM generate_series(1, {dead} + 7) n;
"""


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with await open_pool(database_url, size=2) as opened:
        yield opened


async def fill(database_url: str, **counts: int) -> None:
    connection = await asyncpg.connect(database_url)
    await connection.execute(FILL.format(account=ACCOUNT, **counts))
    await connection.execute("VACUUM ANALYZE")
    await connection.close()


def shown(name: str) -> dict[str, float]:
    """Return a metric's values by task."""
    text = generate_latest().decode()
    return {label: float(value) for label, value in re.findall(rf'^{name}{{task="(\w+)"}} (\S+)$', text, re.MULTILINE)}


def waiting_letters() -> float:
    [value] = re.findall(r"^genrelay_dead_letters_waiting (\S+)$", generate_latest().decode(), re.MULTILINE)
    return float(value)


async def test_what_is_due_is_counted_by_task_with_the_age_of_its_oldest(database_url: str, pool: Pool) -> None:
    await fill(database_url, queued=30, running=20, copying=10, done=5, inbox=40, outbox=6, unplaced=3, dead=2)
    await count_backlog(pool)
    assert shown("genrelay_queue_depth") == {
        "submit": 30, "look_up": 20, "copy": 10, "settle": 40, "deliver": 6, "place": 3,
    }  # fmt: skip
    ages = shown("genrelay_queue_oldest_age_seconds")
    assert {task: ages[task] // 1 for task in ("submit", "look_up", "copy", "settle", "deliver")} == pytest.approx(
        {"submit": 30, "look_up": 20, "copy": 10, "settle": 40, "deliver": 12}, abs=5
    )
    assert waiting_letters() == 2


async def test_an_empty_backlog_is_shown_as_zeros(database_url: str, pool: Pool) -> None:
    await count_backlog(pool)
    tasks = {"submit", "look_up", "copy", "settle", "deliver", "place"}
    assert shown("genrelay_queue_depth") == dict.fromkeys(tasks, 0)
    assert shown("genrelay_queue_oldest_age_seconds") == dict.fromkeys(tasks, 0)
    assert waiting_letters() == 0


async def test_a_huge_backlog_behind_which_much_has_ended_is_counted_up_to_a_bound_and_at_a_bounded_cost(
    database_url: str, pool: Pool
) -> None:
    await fill(
        database_url,
        queued=25_000, running=100, copying=100, done=30_000, inbox=11_000, outbox=11_000, unplaced=11_000, dead=11_000,
    )  # fmt: skip
    await count_backlog(pool)
    depth = shown("genrelay_queue_depth")
    assert depth["submit"] + depth["look_up"] + depth["copy"] == COUNTED
    assert (depth["settle"], depth["deliver"], depth["place"], waiting_letters()) == (COUNTED,) * 4
    assert shown("genrelay_queue_oldest_age_seconds")["submit"] == pytest.approx(25_000, abs=60)
    explained = await pool.fetchval(
        f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {queries().count_queue.sql}".replace("$1", str(COUNTED))
    )
    [told] = explained if isinstance(explained, list) else json.loads(explained)
    used = list(scans(told["Plan"]))
    whole = {scan.get("Relation Name") for scan in used if scan["Node Type"] == "Seq Scan"}
    # Of these a part is read, as far as the bound; there are two subscriptions.
    assert whole <= {"unplaced", "dead_letters", "subscriptions"}, used
    assert {"jobs_due", "callbacks_unjudged", "deliveries_due"} <= {scan.get("Index Name") for scan in used}
    assert max(scan["Actual Rows"] for scan in used) <= COUNTED
