"""What has had its time is deleted, however much of it there is."""

from __future__ import annotations

from service.db.sql import queries
from service.engine.housekeeping import keep_house
from tests.engine.driven import Driven, uuid

# More than two batches of each, so that a round that stops after one or two leaves something.
_INPUTS = """
WITH copied AS (
    INSERT INTO jobs SELECT (jsonb_populate_record(jobs, jsonb_build_object('id', gen_random_uuid()))).*
    FROM jobs, generate_series(1, 1100) RETURNING id
)
INSERT INTO job_inputs (job_id, body, purge_at) SELECT id, 'a lighthouse', now() - interval '1 second' FROM copied
"""
_KEYS = """
INSERT INTO idempotency_keys (account_id, key, request_digest, job_id, created_at)
SELECT account_id, 'old ' || number, 'digest', id, now() - interval '25 hours'
FROM jobs, generate_series(1, 2100) AS number
"""
_ENGINE_LOG = """
INSERT INTO pgqueuer_log (job_id, status, priority, entrypoint, created)
SELECT number, 'successful', 0, 'settle', now() - interval '2 hours' FROM generate_series(1, 10100) AS number
"""


async def _count(driven: Driven, table: str) -> int:
    [row] = await driven.sql(f"SELECT count(*) FROM {table}")
    return int(row["count"])


async def test_one_round_deletes_every_batch_of_what_is_old_and_nothing_else(driven: Driven) -> None:
    job = await driven.submit()
    await driven.sql(_KEYS)
    await driven.sql(_ENGINE_LOG)
    await driven.sql(_INPUTS)
    await driven.sql(
        "INSERT INTO idempotency_keys (account_id, key, request_digest, job_id) "
        "SELECT account_id, 'new', 'digest', id FROM jobs WHERE id = $1",
        uuid(job),
    )
    await keep_house(driven.context)
    assert [row["job_id"] for row in await driven.sql("SELECT job_id FROM job_inputs")] == [uuid(job)]
    assert await _count(driven, "idempotency_keys WHERE key LIKE 'old %'") == 0
    assert await _count(driven, "idempotency_keys WHERE key = 'new'") == 1
    assert await _count(driven, "pgqueuer_log WHERE created < now() - interval '1 hour'") == 0


async def test_an_input_that_the_next_run_takes_back_at_that_moment_stays(driven: Driven) -> None:
    job = await driven.sent("a lighthouse [fault:400]")
    await driven.sql("UPDATE job_inputs SET purge_at = now() - interval '1 second'")
    async with driven.context.transaction() as connection:
        await queries().keep_input(connection, job_id=uuid(job))
        # The row is locked, its old version is due: waiting for it would hang here, for good.
        await keep_house(driven.context)
    await keep_house(driven.context)
    assert await _count(driven, "job_inputs") == 1
