"""What a copy of a job falls back on when the provider's URLs are over: what the job it is a copy of has stored."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

import structlog

from service.db.sql import queries
from service.engine.context import Context
from service.engine.ledger import lock, outputs_of, postpone
from service.engine.spooled import lend_spooled
from service.ids import show
from service.jobs.errors import ErrorCode
from service.jobs.lifecycle import Status
from service.jobs.model import Job, Output, first_loss, read_output
from service.outputs.destinations import read_target
from service.outputs.errors import OutputError, SourceGone, SourceUnavailable
from service.outputs.files import File
from service.outputs.stored_file import Verified, as_source_errors, open_stored

log = structlog.get_logger()

_ABOUT_FILES = {ErrorCode.OUTPUT_EXPIRED, ErrorCode.OUTPUT_REJECTED}
_PATIENCE = 2  # tries


@asynccontextmanager
async def open_earlier(context: Context, job: Job, output: Output) -> AsyncIterator[File]:
    """Lend the file of a copy's output from where it was stored, or spooled, before; raises SourceGone, SourceUnavailable.

    Only jobs that this one is a copy of are looked at, which are all of the same account.
    """
    rows = [row async for row in queries().earlier_outputs(context.pool, job_id=job.id, index=output.index)]
    async with AsyncExitStack() as stack:
        yield await _open_first(context, job, stack, rows)


async def _open_first(context: Context, job: Job, stack: AsyncExitStack, rows: list[Any]) -> File:
    trouble: OutputError = SourceGone("neither the provider nor the job that this is a copy of has the file any more")
    for row in rows:
        try:
            return await stack.enter_async_context(_open(context, job, row))
        except (SourceGone, SourceUnavailable) as error:
            # What can't be had now outlasts what can never be had: it may be better later.
            trouble = error if trouble.final else trouble
    raise trouble


@asynccontextmanager
async def _open(context: Context, job: Job, row: Any) -> AsyncIterator[File]:
    earlier = read_output(row)
    if earlier.status != "stored":
        async with _open_spooled(context, earlier) as file:
            yield file
        return
    assert earlier.key is not None
    assert earlier.sha256 is not None
    assert earlier.bytes is not None
    destination = await queries().get_destination_by_id(context.pool, id=row["destination_id"])
    if destination["deleted_at"] is not None:
        raise SourceGone("the destination with which the file was stored has been deleted")
    async with AsyncExitStack() as stack:
        with as_source_errors():
            target = read_target(context.keyring, destination, None, context.settings.outputs.ambient_accounts)
            spec = target.spec.at(earlier.bucket, earlier.region, earlier.endpoint_url)
            s3 = await stack.enter_async_context(context.buckets.client(spec, cause=show("job", job.id)))
        yield await stack.enter_async_context(
            open_stored(s3, spec, earlier.key, size=earlier.bytes, sha256=earlier.sha256)
        )


@asynccontextmanager
async def _open_spooled(context: Context, earlier: Output) -> AsyncIterator[File]:
    # Nothing else is to be read instead of it, while it can't be read now: no URL of the original's is taken.
    async with lend_spooled(context, replace(earlier, source_expires_at=None)) as file:
        if file is None:
            raise SourceGone("what waited in the spool is not there any more")
        yield file


async def held_to_earlier(context: Context, job: Job, output: Output, file: File) -> File:
    """Return the file such that it is held to the digest of what was stored before, if anything was."""
    rows = [row async for row in queries().earlier_outputs(context.pool, job_id=job.id, index=output.index)]
    digest = next((row["sha256"] for row in rows if row["status"] == "stored"), None)
    return file if digest is None else Verified(file, digest)


async def rather_earlier(context: Context, job: Job, trouble: Sequence[OutputError]) -> bool:
    """Turn a copy to what was stored before when the provider's files are no good, or can't be had again and again."""
    about_files = [error for error in trouble if error.code in _ABOUT_FILES and not isinstance(error, SourceGone)]
    hopeless = any(error.final for error in about_files) or (about_files and job.tries >= _PATIENCE)
    return bool(hopeless) and await turn_to_earlier(context, job)


async def turn_to_earlier(context: Context, job: Job) -> bool:
    """Give up a copy's URLs for what was stored before, and put the copy off until that is tried; False if there is nothing."""
    if job.copy_of is None:
        return False
    async with context.transaction() as connection:
        locked = await lock(connection, job.id)
        if locked is None or locked.job.run != job.run or locked.job.status is not Status.COPYING:
            return False
        turned = [row["index"] async for row in queries().turn_to_earlier(connection, job_id=job.id)]
        if not turned:
            return False
        loss = first_loss(await outputs_of(connection, job.id))
        await postpone(connection, locked, locked.now, tries=0, source_expires_at=loss)
    log.info("job.turned_to_earlier", job_id=show("job", job.id), outputs=turned)
    return True
