"""The task `copy`: a job's outputs from the provider's URLs into the customer's bucket, each one once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

import structlog

from service import metrics, tracing
from service.db.pool import Connection
from service.db.sql import queries
from service.engine.context import Context, backoff
from service.engine.earlier import rather_earlier
from service.engine.ledger import COPY, Locked, Told, lock, outputs_of, postpone, record
from service.engine.manifests import write_manifest
from service.engine.nearby import wrote_events
from service.engine.order import OutputOrder
from service.engine.refresh import refresh_sources
from service.engine.room import with_room
from service.engine.sources import fetch, sizes_of
from service.engine.spooling import spool_endangered, spool_rest, told_of_spool
from service.engine.starting import begin
from service.engine.verdicts import fail
from service.ids import show
from service.jobs.lifecycle import EventType, Happening, Status
from service.jobs.model import Job, Output, first_loss, read_output
from service.outputs.bucket import REQUEST_SECONDS, S3, find_ours
from service.outputs.destinations import Target, read_target
from service.outputs.errors import (
    DestinationDenied,
    DestinationError,
    OutputError,
    OutputRefused,
    SourceGone,
)
from service.outputs.health import find_failure, note_failure, note_success
from service.outputs.transfer import Reserve, transfer
from service.points import reach

log = structlog.get_logger()
T = TypeVar("T")

_AT_ONCE = 4  # outputs of one job
_PATIENCE = 10.0  # seconds, for the bucket that a destination had before


async def copy(context: Context, job_id: UUID) -> None:
    """Copy every output of a job in `copying` that is not stored yet."""
    begun = await begin(context, COPY, job_id, Status.COPYING, lease=context.lease)
    if begun is None:
        return
    tracing.name_trace(begun.job)
    with tracing.job_span("copy", begun.job):
        await _copy(context, begun.job)


async def _copy(context: Context, job: Job) -> None:
    reach("copy.begun")
    async with context.pool.acquire() as connection:
        outputs = await outputs_of(connection, job.id)
        row = await queries().get_destination_by_id(connection, id=job.destination_id)
    try:
        target = read_target(context.keyring, row, job.storage, context.settings.outputs.ambient_accounts)
    except OutputError as error:
        await _decide(context, job, row, [error])
        return
    missing = [output for output in outputs if output.status != "stored"]
    copied = await _while_copying(context, job, _copy_all(context, job, target, missing))
    if copied is None:
        return
    trouble, ended = copied
    if trouble or not outputs:
        await _decide(context, job, row, trouble)
        return
    if not ended:
        try:
            await _while_copying(context, job, _complete(context, job, target))
        except OutputError as error:
            await _decide(context, job, row, [error])
            return
    # Who heard that it fails hears that it is over, also after a PUT, which takes the mark away and tells nobody.
    if (row["failing_since"] is not None or row["told_failing"]) and (ended or target.manifest):
        async with context.transaction() as connection:
            if await note_success(connection, row["id"], seen=row["updated_at"]):
                wrote_events()


async def _copy_all(
    context: Context, job: Job, target: Target, outputs: list[Output]
) -> tuple[list[OutputError], bool]:
    """Copy outputs, some at once, each to its own end; returns what went wrong, and whether the job has ended."""
    turn = asyncio.Semaphore(_AT_ONCE)

    async def one(output: Output) -> bool:
        async with turn:
            with tracing.job_span("copy output", job, nested=True, index=output.index):
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
    async with context.buckets.client(target.spec, cause=show("job", job.id)) as s3:
        if output.status == "writing" and await _is_there(context, job, target, output):
            return await _record_stored(context, job, target, output)
        if output.status == "writing":
            # It was fixed, but never arrived: the next download decides anew what it is.
            await queries().unfix_output(context.pool, job_id=job.id, index=output.index, sha256=output.sha256)
        fixed = await _transfer(context, s3, job, target, output)
    if fixed is None:
        return False
    ended = await _record_stored(context, job, target, fixed)
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


async def _is_there(context: Context, job: Job, target: Target, output: Output) -> bool:
    """Tell whether the object that was fixed has arrived after all, where it was fixed."""
    assert output.key is not None
    assert output.sha256 is not None
    assert output.bytes is not None
    spec = target.spec.at(output.bucket, output.region, output.endpoint_url)
    moved = spec != target.spec
    seconds = _PATIENCE if moved else REQUEST_SECONDS
    wanted = partial(find_ours, sha256=output.sha256, size=output.bytes, mark=output.mark, checksum=output.checksum)
    try:
        async with context.buckets.client(spec, cause=show("job", job.id)) as s3:
            return bool(await wanted(s3, spec, output.key, seconds=seconds))
    except DestinationError as error:
        # The destination was moved, perhaps just because the old place never took anything, and the new one counts. Should
        # the object have arrived in the old one, there will be two, which is what moving in the middle of a write asks for.
        if moved:
            log.info("output.old_place_closed", job_id=show("job", job.id), index=output.index, reason=error.message)
            return False
        # Who may not list a bucket hears the same of an object that is not there. If it is, the write finds out.
        if isinstance(error, DestinationDenied) and error.s3_code == "AccessDenied":
            return False
        raise


async def _transfer(context: Context, s3: S3, job: Job, target: Target, output: Output) -> Output | None:
    """Fetch, look at, fix and write one output; None when it is not wanted any more."""

    async def write(reserve: Reserve) -> Output | None:
        order = OutputOrder(context, job, target, output)
        async with fetch(context, job, output) as file:
            written = await transfer(
                s3,
                target.spec,
                file,
                output.kind,  # type: ignore[arg-type]
                sizes=sizes_of(context, output),
                reserve=reserve,
                order=order,
            )
        return None if written is None else order.row_of(written)

    return await with_room(context.budget, job, output.source_expires_at, write)


async def _record_stored(context: Context, job: Job, target: Target, output: Output) -> bool:
    async with context.transaction() as connection:
        locked = await lock(connection, job.id)
        rows = queries().mark_stored(
            connection,
            job_id=job.id,
            index=output.index,
            sha256=output.sha256,
            bucket=output.bucket,
            region=output.region,
            endpoint_url=output.endpoint_url,
            key=output.key,
        )
        outputs = [read_output(row) async for row in rows]
        # What lies in the bucket is listed, also when the job has ended meanwhile; but then no event tells of it.
        if locked is None or not outputs or locked.job.run != job.run:
            return False
        ended = await _tell_stored(connection, locked, outputs, output.index, ends=not target.manifest)
        reach("copy.stored_before_commit")
    reach("copy.stored")
    return ended


async def _tell_stored(
    connection: Connection, locked: Locked, outputs: list[Output], index: int, *, ends: bool
) -> bool:
    """Tell of an output that is stored; ends: the job has succeeded with its last one. Returns whether it has."""
    told: dict[str, Any] = {"output": outputs[index].as_json() if index < len(outputs) else None}
    if ends and all(output.status == "stored" for output in outputs):
        also = (Told(EventType.OUTPUT_STORED, told),)
        return await record(connection, locked, Happening.ALL_STORED, outputs=outputs, also=also) is not None
    # An output more: tries and starts are counted anew, and the lease stays what it is.
    await record(connection, locked, Happening.OUTPUT_STORED, outputs=outputs, told_of=told, tries=0, starts=0)
    return False


async def _complete(context: Context, job: Job, target: Target) -> None:
    """End a job whose outputs are all stored: one with a manifest, or whose last output was marked by somebody else.

    Raises OutputError when the manifest can't be written.
    """
    row = await queries().peek_job(context.pool, id=job.id)
    if row is None or row["completed_at"] is not None:
        return
    async with context.pool.acquire() as connection:
        outputs = await outputs_of(connection, job.id)
    if any(output.status != "stored" for output in outputs):
        return
    if target.manifest:
        await write_manifest(context, job, target, outputs)
    async with context.transaction() as connection:
        locked = await lock(connection, job.id)
        if locked is not None:
            await record(connection, locked, Happening.ALL_STORED, outputs=outputs)


async def _while_copying(context: Context, job: Job, work: Coroutine[Any, Any, T]) -> T | None:
    """Do the work while the job is being copied in this run; cancels it, and returns None, as soon as it is not."""
    working, renewing = asyncio.create_task(work), asyncio.create_task(_renew(context, job))
    try:
        await asyncio.wait({working, renewing}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        for task in (working, renewing):
            task.cancel()
        await asyncio.gather(working, renewing, return_exceptions=True)


async def _renew(context: Context, job: Job) -> None:
    """Keep the job to ourselves; returns when it is not being copied in this run any more."""
    while True:
        await asyncio.sleep(context.lease / 3)
        # While the database is away nobody else takes the job up either.
        try:
            found = await queries().renew_lease(
                context.pool, id=job.id, status=Status.COPYING.value, run=job.run, lease=context.lease
            )
        except Exception as error:  # the copy goes on, fenced, also when another takes the job up beside it
            log.warning("job.lease_not_renewed", job_id=show("job", job.id), reason=type(error).__name__)
        else:
            if found is None:
                return


async def _decide(context: Context, job: Job, destination: Any, trouble: list[OutputError]) -> None:
    """One place decides what becomes of a copy that did not get through: refresh, again later, or the end.

    destination: its row, as it was used.
    """
    if await rather_earlier(context, job, trouble):
        return
    final = next((error for error in trouble if error.final and not isinstance(error, SourceGone)), None)
    if final is None:
        # An output whose URL has expired gets a fresh one, whatever passing trouble another one has.
        final = next((error for error in trouble if isinstance(error, SourceGone)), None)
        if final is not None and await refresh_sources(context, job):
            return
    last = final or (trouble[0] if trouble else OutputRefused("there is nothing to copy"))
    error = last.as_job_error()
    ends = await _ends(context, job, final)
    if ends and (failure := find_failure([*(each for each in trouble if each.final), last])) is not None:
        async with context.transaction() as connection:
            if await note_failure(connection, destination["id"], failure, seen=destination["updated_at"]):
                wrote_events()
    if any(isinstance(each, DestinationError) for each in trouble):
        spool = spool_rest if ends else spool_endangered
        error = told_of_spool(error, await _while_copying(context, job, spool(context, job)))
    async with context.transaction() as connection:
        locked = await lock(connection, job.id)
        if locked is None or locked.job.run != job.run or locked.job.status is not Status.COPYING:
            return
        tries = locked.job.tries + 1
        if final is not None or tries >= context.settings.outputs.max_attempts:
            await fail(context, connection, locked, error)
            outcome = "failed"
        else:
            due = locked.now + backoff(tries - 1, 0.5, 120.0)
            # What waits in the spool by now is not lost as soon.
            loss = first_loss(await outputs_of(connection, job.id))
            await postpone(connection, locked, due, tries=tries, source_expires_at=loss)
            outcome = "again"
    log.warning(
        "output.not_stored",
        job_id=show("job", job.id),
        code=last.code.value,
        tries=tries,
        outcome=outcome,
        reason=last.message,
    )


async def _ends(context: Context, job: Job, final: OutputError | None) -> bool:
    """Whether a copy with this trouble is the job's last one."""
    row = await queries().peek_job(context.pool, id=job.id)
    return final is not None or (row is not None and row["tries"] + 1 >= context.settings.outputs.max_attempts)
