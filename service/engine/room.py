"""Memory for a file that is being fetched: at once, or in turn, for which nobody keeps a connection open."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from functools import partial
from typing import TypeVar

from service.jobs.model import Job
from service.outputs.errors import SourceUnavailable
from service.outputs.memory import MemoryBudget, NoRoom, Reservation
from service.outputs.transfer import Reserve

T = TypeVar("T")


async def with_room(
    budget: MemoryBudget, job: Job, urgent_at: datetime | None, work: Callable[[Reserve], Awaitable[T]]
) -> T:
    """Do the work, which fetches a file and reserves memory for it, once; a second time if it had to wait for that.

    urgent_at: until when the file can be had. Raises what `work` does.
    """
    try:
        async with AsyncExitStack() as opening:
            # A connection has buffers of its own before anything is reserved for its file: not a thousand at a time.
            await opening.enter_async_context(budget.openings)
            return await work(partial(_reserve_now, budget, job, opening))
    except NoRoom as full:
        size = full.size
    # Out of the `except`: its traceback keeps the file alive, with half a MiB of buffers. While it waits it holds nothing,
    # neither memory nor a connection, which might break meanwhile.
    async with budget.reserve(size, job.id, urgent_at.timestamp() if urgent_at else None) as reservation:
        return await work(lambda size: _hand_out(reservation, min(size, budget.total)))


@asynccontextmanager
async def _reserve_now(
    budget: MemoryBudget, job: Job, opening: AsyncExitStack, size: int
) -> AsyncIterator[Reservation]:
    """Reserve what there is; the file is open, and another one may be opened."""
    async with budget.reserve_now(min(size, budget.total), job.id) as reservation:
        await opening.aclose()
        yield reservation


@asynccontextmanager
async def _hand_out(reservation: Reservation, size: int) -> AsyncIterator[Reservation]:
    """Lend what is reserved already."""
    if size > reservation.size:
        raise SourceUnavailable("the provider's file is larger than it was a moment ago")
    reservation.shrink(size)
    yield reservation
