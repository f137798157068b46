"""Jobs whose outputs are known and wait to be copied: the copy alone, through the real queue, workers and database."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from uuid import UUID

import asyncpg
from pgqueuer import Queries

from service.ids import new_uuid
from tests.bench.processes import Broken

_JOB = """
INSERT INTO jobs (id, account_id, provider, operation, status, destination, destination_id, verified_by, provider_status,
                  provider_task_id, progress, deadline_seconds, deadline_at, due_at, nudged_at, images)
SELECT $1::uuid, account_id, 'novita', 'txt2img', 'copying', name, id, 'readback', 'TASK_STATUS_SUCCEED',
       $1::uuid::text, 100, 3600, now() + interval '1 hour', now(), now(), 1
FROM destinations WHERE name = 'bench'
"""
_OUTPUT = """
INSERT INTO outputs (job_id, index, kind, status, source_url, source_expires_at, encoded, inline)
VALUES ($1, $2, $3, 'pending', $4, now() + interval '1 hour', false, false)
"""


async def _give(dsn: str, jobs: Sequence[Sequence[str]], kind: str) -> list[UUID]:
    connection = await asyncpg.connect(dsn)
    try:
        async with connection.transaction():
            ids = [new_uuid() for _ in jobs]
            await connection.executemany(_JOB, [(each,) for each in ids])
            rows = [
                (job, index, kind, url) for job, urls in zip(ids, jobs, strict=True) for index, url in enumerate(urls)
            ]
            await connection.executemany(_OUTPUT, rows)
            queue = Queries.from_asyncpg_connection(connection)
            await queue.enqueue(["copy"] * len(ids), [job.bytes for job in ids], [0] * len(ids))
        return ids
    finally:
        await connection.close()


async def _copy(dsn: str, jobs: Sequence[Sequence[str]], kind: str, watch: Callable[[], None], seconds: float) -> float:
    connection = await asyncpg.connect(dsn)
    try:
        began = time.perf_counter()
        ids = await _give(dsn, jobs, kind)
        while await connection.fetchval("SELECT count(*) FROM jobs WHERE completed_at IS NULL AND id = ANY($1)", ids):
            watch()
            if time.perf_counter() - began > seconds:
                raise Broken(f"copies: not done after {seconds:.0f} s")
            await asyncio.sleep(0.05)
        took = time.perf_counter() - began
        bad = await connection.fetch("SELECT error FROM jobs WHERE status <> 'succeeded' AND id = ANY($1)", ids)
        if bad:
            raise Broken(f"copies: {len(bad)} of {len(ids)} jobs failed, the first with {bad[0]['error']}")
        return took
    finally:
        await connection.close()


def run_copies(
    dsn: str,
    jobs: Sequence[Sequence[str]],
    *,
    kind: str = "image",
    watch: Callable[[], None] = lambda: None,
    seconds: float = 600,
) -> float:
    """Hand over jobs, each a list of source URLs, and return the seconds until the last one has succeeded.

    watch: called twenty times a second meanwhile. Raises Broken when a job fails or it takes too long.
    """
    return asyncio.run(_copy(dsn, jobs, kind, watch, seconds))
