"""Fetching an output's URL anew: signed URLs expire, and some providers sign again when asked."""

from __future__ import annotations

from datetime import timedelta

from service.engine.context import Context
from service.engine.ledger import lock, outputs_of, postpone
from service.engine.read_back import read_back
from service.engine.verdicts import READ_BACK_PAUSE, save_sources
from service.jobs.lifecycle import Status
from service.jobs.model import Job
from service.providers.contract import LookUpUnavailable, Succeeded

_REFRESHES = 3


async def refresh_sources(context: Context, job: Job) -> bool:
    """Ask the provider for fresh URLs and put the copy off until they are tried; False when that is of no use any more."""
    if job.provider_task_id is None or job.rereads >= _REFRESHES:
        return False
    visit = context.gates.look_ups(job.provider).try_enter()
    found = (await read_back(context, job, job.provider_task_id, visit)).outcome
    if not isinstance(found, Succeeded | LookUpUnavailable):
        return False
    async with context.transaction() as connection:
        locked = await lock(connection, job.id)
        if locked is None or locked.job.run != job.run or locked.job.status is not Status.COPYING:
            return True
        pause = READ_BACK_PAUSE
        if isinstance(found, Succeeded):
            before = {output.index: output.source_url for output in await outputs_of(connection, job.id)}
            fresh = [
                s for s in found.sources if s.index in before and (s.inline is not None or s.url != before[s.index])
            ]
            await save_sources(connection, locked.job, fresh)
            pause = 0.0 if fresh else READ_BACK_PAUSE
        due = locked.now + timedelta(seconds=pause)
        await postpone(connection, locked, due, rereads=locked.job.rereads + 1)
    return True
