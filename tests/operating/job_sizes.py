"""What a job leaves in the database: `python -m pytest tests/operating/test_job_sizes.py -s` prints it by table."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from tests.world import World

# Tables that grow with jobs, by the setting that empties them (docs/operating.md).
KINDS = {
    "job": ("jobs", "attempts", "outputs", "job_inputs"),
    "events": ("events", "feed", "unplaced"),
    "callbacks": ("callbacks",),
    "deliveries": ("deliveries", "delivery_attempts"),
}
_SIZES = """
SELECT relname, pg_total_relation_size(class.oid) AS bytes FROM pg_class class
WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
"""


async def sizes(world: World) -> Counter[str]:
    """Return the bytes of every table with its indexes, after what was deleted has been given back."""
    async with world.service.pool.acquire() as connection:
        await connection.execute("VACUUM FULL")
        return Counter({row["relname"]: row["bytes"] for row in await connection.fetch(_SIZES)})


async def measure(world: World, count: int, **changes: Any) -> Counter[str]:
    """Run so many jobs to their end; returns the bytes per job by table."""
    before = await sizes(world)
    for _ in range(0, count, 20):
        jobs = await asyncio.gather(*(world.submit(**changes) for _ in range(20)))
        ends = await asyncio.gather(*(world.end(job) for job in jobs))
        assert {job["status"] for job in ends} == {"succeeded"}
    grown = await sizes(world)
    grown.subtract(before)
    return Counter({table: round(size / count) for table, size in grown.items() if size > 0})
