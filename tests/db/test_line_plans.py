"""With 50,000 jobs in line, who goes next is found through the index, and so is everything else that the dispatcher asks."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from service.db.sql import queries
from tests.db.test_plans import arguments, scans

FILL = """
INSERT INTO accounts (id, name) SELECT lpad(to_hex(n), 32, '0')::uuid, n::text FROM generate_series(1, 50) n;
INSERT INTO jobs (id, account_id, provider, operation, status, test_status, submit_state, deadline_seconds, deadline_at, due_at)
SELECT lpad(to_hex(n), 32, '0')::uuid, account, 'novita', operation, 'queued', 'TASK_STATUS_SUCCEED', NULL, 60,
       now() + interval '1 hour', now() + interval '1 hour'
FROM (SELECT n, lpad(to_hex(CASE WHEN n <= 49900 THEN 1 ELSE n % 50 + 1 END), 32, '0')::uuid AS account,
             CASE WHEN n % 10 = 0 THEN 'img2img' ELSE 'txt2img' END AS operation FROM generate_series(1, 50000) n) given;
INSERT INTO line (job_id, provider, operation, account_id, images, until, granted_at, not_before)
SELECT id, provider, operation, account_id, 1, deadline_at, CASE WHEN random() < 0.01 THEN now() END, NULL FROM jobs;
UPDATE line SET not_before = now() + interval '9 seconds' WHERE granted_at IS NULL AND place % 500 = 0;
INSERT INTO grants (job_id, provider, operation, account_id, images, at)
SELECT gen_random_uuid(), 'novita', 'txt2img', lpad(to_hex(n % 50 + 1), 32, '0')::uuid, 1,
       now() - make_interval(secs => n / 10.0)
FROM generate_series(1, 50000) n;
"""
NEXT = {"provider": "novita", "operation": "txt2img", "turn": UUID(int=7), "most": 64}
LANES = {"operations": ["", "txt2img", "img2img"], "window": 70.0, "slots": True, "images": True}
JOINING = {"turn": 5.0, "closed": [], "version": None}
PLANS: list[tuple[str, dict[str, Any]]] = [
    ("next_in_line", NEXT),
    ("waiting_lanes", {}),
    ("survey_lanes", {"provider": "novita", **LANES}),
    ("seconds_until_images", {"provider": "novita", "operation": "txt2img", "window": 70.0, "allowed": 5}),
    ("seconds_until_later", {"provider": "novita", "operation": "txt2img"}),
    ("grant_turns", {"ids": [UUID(int=5)], "counted": True, "clock": None}),
    ("join_line", {"id": UUID(int=5), "queued": "queued", "held": ["novita/txt2img"], **JOINING}),
    ("return_to_line", {"job_id": UUID(int=5), "not_before": None, "refund": True}),
    ("beat", {"id": uuid4(), "alert_seconds": 600.0}),
]
BIG = {"jobs", "line", "grants"}
READ = {"next_in_line": 400, "waiting_lanes": 20}


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    """A connection to a database with 50,000 jobs in line, nearly all of one account."""
    connection = await asyncpg.connect(database_url)
    await connection.execute(FILL)
    await connection.execute("VACUUM ANALYZE")
    yield connection
    await connection.close()


async def _plan(db: Any, name: str, values: dict[str, Any], *, run: bool = False) -> dict[str, Any]:
    query: Any = getattr(queries(), name)
    how = "ANALYZE, FORMAT JSON" if run else "FORMAT JSON"
    answer = await db.fetchval(f"EXPLAIN ({how}) {query.sql}", *arguments(query, values))
    plan: dict[str, Any] = json.loads(answer)[0]["Plan"]
    return plan


async def test_nothing_that_the_dispatcher_asks_reads_a_whole_table(db: Any) -> None:
    for name, values in PLANS:
        found = list(scans(await _plan(db, name, values)))
        slow = {scan.get("Relation Name") for scan in found if scan["Node Type"] == "Seq Scan"}
        assert not BIG & slow, f"{name}: {found}"


@pytest.mark.parametrize("name", READ)
async def test_the_backlog_is_not_walked_through(db: Any, name: str) -> None:
    """Rows that were really read, over all loops: some for each account or lane, however many wait."""
    plan = await _plan(db, name, dict(PLANS)[name], run=True)
    read = sum(
        scan["Actual Loops"] * (scan["Actual Rows"] + scan.get("Rows Removed by Filter", 0))
        for scan in scans(plan)
        if scan.get("Relation Name") == "line"
    )
    assert read <= READ[name], json.dumps(plan, indent=1)


async def test_each_account_has_its_turn_among_50000(db: Any) -> None:
    query: Any = queries().next_in_line
    rows = await db.fetch(query.sql, *arguments(query, NEXT))
    assert len(rows) == 64
    accounts = [row["account_id"].int for row in rows]
    assert len(set(accounts[:50])) == len(set(accounts)) >= 40, "everybody once, before anybody twice"
    assert accounts[0] > 7
