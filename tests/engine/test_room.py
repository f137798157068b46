"""Which outputs get memory first when several jobs wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from service.engine.copying import copy
from tests.engine.driven import uuid
from tests.engine.shaky import Shaky, sound
from tests.world import until

SIZE = len(sound("small"))


async def _wait_with(shaky: Shaky, job: dict[str, Any], waiting: int) -> asyncio.Task[None]:
    """Begin a job's copy, and wait until so many outputs wait for memory."""
    begun = asyncio.create_task(copy(shaky.driven.context, uuid(job)))

    async def waits() -> bool:
        return shaky.driven.context.budget.waiting == waiting

    await until(waits)
    return begun


@asynccontextmanager
async def _no_room(shaky: Shaky, files: int) -> AsyncIterator[None]:
    """Hold all the memory there is: that of so many files."""
    budget = shaky.driven.context.budget
    budget.total = files * SIZE
    async with budget.reserve(budget.total):
        yield


async def _expires(shaky: Shaky, job: dict[str, Any], seconds: int) -> None:
    query = "UPDATE outputs SET source_expires_at = now() + $2::interval WHERE job_id = $1"
    await shaky.driven.sql(query, uuid(job), timedelta(seconds=seconds))


def _written(shaky: Shaky) -> list[str]:
    return [request.key.split("/")[1] for request in shaky.proxy.seen if request.operation == "PutObject"]


async def test_memory_goes_first_to_the_output_that_is_lost_first(shaky: Shaky) -> None:
    late, soon = [await shaky.copying("small") for _ in range(2)]
    await _expires(shaky, late, 2000)
    await _expires(shaky, soon, 1000)
    async with _no_room(shaky, 1):
        copies = [await _wait_with(shaky, late, 1), await _wait_with(shaky, soon, 2)]
    await asyncio.gather(*copies)
    assert _written(shaky) == [soon["id"], late["id"]]


async def test_memory_goes_to_the_job_that_holds_none_before_one_gets_more(shaky: Shaky) -> None:
    two, one = await shaky.copying("small", 2), await shaky.copying("small")
    await _expires(shaky, two, 1000)
    await _expires(shaky, one, 2000)
    async with _no_room(shaky, 2):
        copies = [await _wait_with(shaky, two, 2), await _wait_with(shaky, one, 3)]
    await asyncio.gather(*copies)
    *first, last = _written(shaky)
    assert (sorted(first), last) == (sorted([two["id"], one["id"]]), two["id"])


async def test_so_many_files_are_opened_at_a_time_and_the_next_one_once_one_has_its_memory(shaky: Shaky) -> None:
    budget = shaky.driven.context.budget
    budget.openings = asyncio.Semaphore(0)
    jobs = [await shaky.copying("small") for _ in range(2)]
    before = shaky.files.connections
    copies = [asyncio.create_task(copy(shaky.driven.context, uuid(job))) for job in jobs]

    async def both_wait() -> bool:
        return len(budget.openings._waiters or ()) == 2

    await until(both_wait)
    assert shaky.files.connections == before
    budget.openings.release()
    await asyncio.gather(*copies)
    assert sorted(_written(shaky)) == sorted(job["id"] for job in jobs)
