"""Fetching an output's URL anew: signed URLs expire, and some providers sign again when asked."""

from __future__ import annotations

from datetime import timedelta

from service.db.sql import queries
from service.engine.context import Context, backoff
from service.engine.earlier import turn_to_earlier
from service.engine.ledger import lock, outputs_of, postpone
from service.engine.read_back import read_back
from service.engine.verdicts import READ_BACK_PAUSE, save_sources
from service.jobs.lifecycle import Status
from service.jobs.model import Job, first_loss, read_job
from service.providers.contract import LookUpUnavailable, Source, Succeeded

_REFRESHES = 3
_PATIENCE = 3  # tries, where the files may be had from somewhere else


async def refresh_sources(context: Context, job: Job) -> bool:
    """Ask the provider for fresh URLs and put the copy off until they are tried; False when that is of no use any more.

    A copy of another job asks about that one's task, and falls back on what that one has stored.
    """
    return await _ask_provider(context, job) or await turn_to_earlier(context, job)


async def _ask_provider(context: Context, job: Job) -> bool:
    if job.rereads >= _REFRESHES:
        return False
    asked = job if job.copy_of is None else read_job(await queries().origin_of(context.pool, job_id=job.id))
    if asked.provider_task_id is None:
        return False
    visit = context.gates.look_ups(job.provider).try_enter()
    found = (await read_back(context, asked, asked.provider_task_id, visit)).outcome
    match found:
        case Succeeded(_, sources):
            return await _save_fresh(context, job, sources)
        case LookUpUnavailable(_, retry_after):
            patient = job.copy_of is None or job.tries < _PATIENCE
            return (not patient and await turn_to_earlier(context, job)) or await _ask_later(context, job, retry_after)
    return False


async def _ask_later(context: Context, job: Job, retry_after: float | None) -> bool:
    """Put the copy off until the provider can be asked again; False when it has been tried as often as it may.

    Nothing is known about the URLs, so that this is a try like any other, and not one of the few refreshes.
    """
    longest = context.settings.reconcile.max_seconds
    async with context.transaction() as connection:
        locked = await lock(connection, job.id)
        if locked is None or locked.job.run != job.run or locked.job.status is not Status.COPYING:
            return True
        tries = locked.job.tries + 1
        if tries >= context.settings.outputs.max_attempts:
            return False
        pause = max(backoff(tries - 1, READ_BACK_PAUSE, longest), timedelta(seconds=min(retry_after or 0.0, longest)))
        await postpone(connection, locked, locked.now + pause, tries=tries)
    return True


async def _save_fresh(context: Context, job: Job, sources: tuple[Source, ...]) -> bool:
    """Write the URLs that have changed; False when they are the same ones, and the job has something better to try."""
    async with context.transaction() as connection:
        locked = await lock(connection, job.id)
        if locked is None or locked.job.run != job.run or locked.job.status is not Status.COPYING:
            return True
        missing = [output for output in await outputs_of(connection, job.id) if output.status != "stored"]
        before = {output.index: output.source_url for output in missing}
        fresh = [s for s in sources if s.index in before and (s.inline is not None or s.url != before[s.index])]
        if sources and not fresh and job.copy_of is not None:
            return False
        if fresh:
            await save_sources(connection, locked.job, fresh)
        due = locked.now + timedelta(seconds=0.0 if fresh else READ_BACK_PAUSE)
        loss = first_loss(await outputs_of(connection, job.id))
        await postpone(connection, locked, due, rereads=locked.job.rereads + 1, source_expires_at=loss)
    return True
