"""The task `copy`: a job's outputs from the provider's URLs into the customer's bucket, each one once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from uuid import UUID

import structlog

from service import metrics
from service.db.pool import Connection
from service.db.sql import queries
from service.engine.context import Context, backoff
from service.engine.ledger import COPY, Locked, Told, lock, outputs_of, postpone, record
from service.engine.refresh import refresh_sources
from service.engine.sources import fetch
from service.engine.starting import begin
from service.engine.verdicts import fail
from service.ids import show
from service.jobs.lifecycle import EventType, Happening, Status
from service.jobs.model import Job, Output, read_output
from service.outputs.bucket import S3, find_ours, put_once
from service.outputs.content import inspect
from service.outputs.destinations import Target, read_target
from service.outputs.errors import OutputError, OutputRefused, SourceGone
from service.outputs.keys import object_key
from service.points import reach

log = structlog.get_logger()

_AT_ONCE = 4  # outputs of one job


async def copy(context: Context, job_id: UUID) -> None:
    """Copy every output of a job in `copying` that is not stored yet."""
    begun = await begin(context, COPY, job_id, Status.COPYING, lease=context.lease)
    if begun is None:
        return
    job = begun.job
    reach("copy.begun")
    async with context.pool.acquire() as connection:
        outputs = await outputs_of(connection, job_id)
        row = await queries().get_destination_by_id(connection, id=job.destination_id)
    try:
        target = read_target(context.keyring, row, job.storage)
    except OutputError as error:
        await _decide(context, job, [error])
        return
    async with _renewing(context, job):
        trouble, ended = await _copy_all(context, job, target, [o for o in outputs if o.status != "stored"])
    if trouble or not outputs:
        await _decide(context, job, trouble)
    elif not ended:
        await _complete(context, job)


async def _copy_all(
    context: Context, job: Job, target: Target, outputs: list[Output]
) -> tuple[list[OutputError], bool]:
    """Copy outputs, some at once, each to its own end; returns what went wrong, and whether the job has ended."""
    turn = asyncio.Semaphore(_AT_ONCE)

    async def one(output: Output) -> bool:
        async with turn:
            return await _copy_output(context, job, target, output)

    results = await asyncio.gather(*map(one, outputs), return_exceptions=True)
    trouble = [result for result in results if isinstance(result, OutputError)]
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, OutputError):
            raise result
    return trouble, any(result is True for result in results)


async def _copy_output(context: Context, job: Job, target: Target, output: Output) -> bool:
    """Copy one output; returns whether the job has ended with it."""
    began = time.monotonic()
    async with context.buckets.client(target.spec) as s3:
        if output.status == "writing" and await _is_there(s3, target, output):
            return await _record_stored(context, job, output)
        if output.status == "writing":
            # It was fixed, but never arrived: the next download decides anew what it is.
            await queries().unfix_output(context.pool, job_id=job.id, index=output.index, sha256=output.sha256)
        fixed = await _transfer(context, s3, job, target, output)
    if fixed is None:
        return False
    ended = await _record_stored(context, job, fixed)
    metrics.BYTES_STORED.inc(fixed.bytes or 0)
    log.info(
        "output.stored",
        job_id=show("job", job.id),
        index=output.index,
        bytes=fixed.bytes,
        key=fixed.key,
        seconds=round(time.monotonic() - began, 3),
    )
    return ended


async def _is_there(s3: S3, target: Target, output: Output) -> bool:
    assert output.key is not None
    assert output.sha256 is not None
    assert output.bytes is not None
    # Where it was fixed, also when the destination has got another bucket meanwhile.
    spec = replace(target.spec, bucket=output.bucket or target.spec.bucket)
    found = await find_ours(s3, spec, output.key, sha256=output.sha256, size=output.bytes)
    return bool(found)


async def _transfer(context: Context, s3: S3, job: Job, target: Target, output: Output) -> Output | None:
    """Fetch, look at, fix and write one output; None when the job is not being copied any more."""
    async with fetch(context, job, output) as file:
        reach("copy.downloaded")
        content = inspect(file.body, output.kind, max_pixels=context.settings.outputs.max_pixels)  # type: ignore[arg-type]
        fixed = replace(
            output,
            status="writing",
            media_type=content.media_type,
            extension=content.extension,
            bytes=len(file.body),
            width=content.width,
            height=content.height,
            sha256=file.sha256,
            bucket=target.spec.bucket,
            key=_key(job, target, output.index, content.extension),
        )
        if not await _fix(context, fixed):
            return None
        await put_once(
            s3,
            target.spec,
            fixed.key or "",
            file.body,
            sha256=file.sha256,
            media_type=content.media_type,
            metadata={"genrelay-job": show("job", job.id), "genrelay-output": str(output.index)},
        )
        reach("copy.put")
    return fixed


def _key(job: Job, target: Target, index: int, extension: str) -> str:
    return object_key(target.path, show("job", job.id), index, extension, save_directly=target.save_directly)


async def _fix(context: Context, output: Output) -> bool:
    """Commit what will be written, before it is; False when the job was canceled or another worker fixed it otherwise."""
    reach("copy.fixed_before_commit")
    done = await queries().fix_output(context.pool, **{name: getattr(output, name) for name in _FIXED})
    reach("copy.fixed")
    return done is not None


_FIXED = [
    *("job_id", "index", "media_type", "extension", "bytes", "width", "height", "frames", "sha256", "bucket", "key"),
    *("mark", "part_bytes", "checksum"),
]


async def _record_stored(context: Context, job: Job, output: Output) -> bool:
    async with context.transaction() as connection:
        locked = await lock(connection, job.id)
        rows = queries().mark_stored(connection, job_id=job.id, index=output.index, sha256=output.sha256)
        outputs = [read_output(row) async for row in rows]
        # What lies in the bucket is listed, also when the job has ended meanwhile; but then no event tells of it.
        if locked is None or not outputs or locked.job.run != job.run:
            return False
        ended = await _tell_stored(connection, locked, outputs, output.index)
        reach("copy.stored_before_commit")
    reach("copy.stored")
    return ended


async def _tell_stored(connection: Connection, locked: Locked, outputs: list[Output], index: int) -> bool:
    told: dict[str, Any] = {"output": outputs[index].as_json() if index < len(outputs) else None}
    if all(output.status == "stored" for output in outputs):
        also = (Told(EventType.OUTPUT_STORED, told),)
        return await record(connection, locked, Happening.ALL_STORED, outputs=outputs, also=also) is not None
    # An output more: tries and starts are counted anew, and the lease stays what it is.
    await record(connection, locked, Happening.OUTPUT_STORED, outputs=outputs, told_of=told, tries=0, starts=0)
    return False


async def _complete(context: Context, job: Job) -> None:
    """End a job whose outputs are all stored but whose last one was marked by somebody else (an earlier run's copy)."""
    row = await queries().peek_job(context.pool, id=job.id)
    if row is None or row["completed_at"] is not None:
        return
    async with context.transaction() as connection:
        locked = await lock(connection, job.id)
        outputs = await outputs_of(connection, job.id)
        if locked is not None and all(output.status == "stored" for output in outputs):
            await record(connection, locked, Happening.ALL_STORED, outputs=outputs)


@asynccontextmanager
async def _renewing(context: Context, job: Job) -> AsyncIterator[None]:
    async def renew() -> None:
        while True:
            await asyncio.sleep(context.lease / 3)
            # While the database is away nobody else takes the job up either.
            try:
                await queries().renew_lease(
                    context.pool, id=job.id, status=Status.COPYING.value, run=job.run, lease=context.lease
                )
            except Exception as error:  # the copy goes on, fenced, also when another takes the job up beside it
                log.warning("job.lease_not_renewed", job_id=show("job", job.id), reason=type(error).__name__)

    task = asyncio.create_task(renew())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _decide(context: Context, job: Job, trouble: list[OutputError]) -> None:
    """One place decides what becomes of a copy that did not get through: refresh, again later, or the end."""
    final = next((error for error in trouble if error.final and not isinstance(error, SourceGone)), None)
    if final is None:
        # An output whose URL has expired gets a fresh one, whatever passing trouble another one has.
        final = next((error for error in trouble if isinstance(error, SourceGone)), None)
        if final is not None and await refresh_sources(context, job):
            return
    last = final or (trouble[0] if trouble else OutputRefused("there is nothing to copy"))
    async with context.transaction() as connection:
        locked = await lock(connection, job.id)
        if locked is None or locked.job.run != job.run or locked.job.status is not Status.COPYING:
            return
        tries = locked.job.tries + 1
        if final is not None or tries >= context.settings.outputs.max_attempts:
            await fail(context, connection, locked, last.as_job_error())
            outcome = "failed"
        else:
            due = locked.now + backoff(tries - 1, 0.5, 120.0)
            await postpone(connection, locked, due, tries=tries)
            outcome = "again"
    log.warning(
        "output.not_stored",
        job_id=show("job", job.id),
        code=last.code.value,
        tries=tries,
        outcome=outcome,
        reason=last.message,
    )
