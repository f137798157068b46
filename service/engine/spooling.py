"""What a customer's bucket does not take waits in the operator's spool: how it gets there, and when it is deleted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import structlog

from service import metrics
from service.db.pool import DATABASE_AWAY, Pool
from service.db.sql import queries
from service.engine.context import Context
from service.engine.ledger import outputs_of
from service.engine.room import with_room
from service.engine.sources import fetch, sizes_of
from service.ids import new_uuid, show
from service.jobs.errors import JobError
from service.jobs.model import Job, Output, moment
from service.outputs.errors import DestinationError, OutputError
from service.outputs.inspected import Inspected, Resumed
from service.outputs.inspecting import wants_whole
from service.outputs.sealing import sealed_size
from service.outputs.spool import UNNAMED, Spool, Spooled
from service.outputs.transfer import HEAD_BYTES, Reserve

log = structlog.get_logger()

_AT_ONCE = 4  # outputs of one job
_LONGEST = 900.0  # seconds for all outputs of a job, whose end waits for it
_PAUSES = (0.2, 1.0, 3.0)  # seconds between the tries of one output
_BATCHES = 50  # of each kind in one round of the housekeeping
_RELEASED, _DELETED = 500, 100  # rows of a batch, and objects that are deleted at once at most
_ENDING = 86_400.0  # seconds before an output's deletion from which on it is counted
_PAUSE = 600.0  # seconds until an object that could not be deleted is tried again


async def spool_rest(context: Context, job: Job) -> datetime | None:
    """Put every output of a job in `copying` that is not stored into the operator's spool, as far as that goes.

    Returns until when those that wait there do, the first of them; None when none does. Takes 15 minutes at most, for
    which the caller has to hold the job's lease. What can't be spooled is logged and counted.
    """
    return await _spool(context, job, lambda output: True)


async def spool_endangered(context: Context, job: Job) -> datetime | None:
    """Do as `spool_rest`, for outputs that are about to be lost at their source while their bucket is tried again."""
    soon = datetime.now(UTC) + timedelta(seconds=context.settings.outputs.alert_seconds)
    return await _spool(
        context, job, lambda output: output.source_expires_at is not None and output.source_expires_at <= soon
    )


async def _spool(context: Context, job: Job, wanted: Callable[[Output], bool]) -> datetime | None:
    if context.spool is None or job.test:
        return None
    missing = [output for output in await _outputs(context, job) if output.status != "stored"]
    chosen = [output for output in missing if output.spool_key is None and wanted(output)]
    if chosen:
        rescue = _Rescue(context, context.spool, job)
        try:
            await rescue.run(chosen)
        finally:
            await rescue.discard()
    waiting = [output.spooled_until for output in await _outputs(context, job) if output.status != "stored"]
    # What a retry has outlasted is deleted as soon as it ends.
    return min((until for until in waiting if until is not None and until > datetime.now(UTC)), default=None)


def told_of_spool(error: JobError, until: datetime | None) -> JobError:
    """Return the error of a job whose outputs wait in the spool until then; None: none does."""
    if until is None:
        return error
    more = f"The outputs wait in this service's spool until {moment(until)}: `retry` copies them once the bucket takes them."
    return replace(error, hint=f"{error.hint} {more}".lstrip())


async def _outputs(context: Context, job: Job) -> list[Output]:
    async with context.pool.acquire() as connection:
        return await outputs_of(connection, job.id)


class _Rescue:
    """The outputs of one job on their way into the spool."""

    def __init__(self, context: Context, spool: Spool, job: Job) -> None:
        self._context = context
        self._spool = spool
        self._job = job
        self._turn = asyncio.Semaphore(_AT_ONCE)
        self._planned: set[UUID] = set()

    async def run(self, outputs: Iterable[Output]) -> None:
        """Spool the outputs, each to its own end; raises only what says that the database is away."""
        try:
            async with asyncio.timeout(_LONGEST) as limit:
                results = await asyncio.gather(*map(self._one, outputs), return_exceptions=True)
        except TimeoutError:
            if not limit.expired():
                raise
            metrics.SPOOLED.labels("late").inc()
            log.warning("output.not_spooled", job_id=show("job", self._job.id), reason=f"not done within {_LONGEST} s")
            return
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def discard(self) -> None:
        """Leave to the housekeeping what was begun and came to nothing."""
        if self._planned:
            await queries().discard_spoolings(self._context.pool, ids=list(self._planned))

    async def _one(self, output: Output) -> None:
        async with self._turn:
            try:
                outcome, reason = await self._try(output), None
            except DestinationError as error:
                outcome, reason = "spool", error.message
            except OutputError as error:
                outcome, reason = "source", error.message
            except DATABASE_AWAY:
                raise
            except Exception as error:  # whatever it is, the job has to end with its own error
                log.exception("output.spooling_raised", job_id=show("job", output.job_id), index=output.index)
                outcome, reason = "error", type(error).__name__
        metrics.SPOOLED.labels(outcome).inc()
        if outcome != "spooled":
            log.warning(
                "output.not_spooled",
                job_id=show("job", output.job_id),
                index=output.index,
                outcome=outcome,
                reason=reason,
            )

    async def _try(self, output: Output) -> str:
        """Spool an output, and again after passing trouble: there is no other day for it."""
        for pause in _PAUSES:
            try:
                return await self._spool_one(output)
            except OutputError as error:
                if error.final:
                    raise
            await asyncio.sleep(pause)
        return await self._spool_one(output)

    async def _spool_one(self, output: Output) -> str:
        async def write(reserve: Reserve) -> tuple[_Plan, Spooled]:
            return await self._write(output, reserve)

        plan, spooled = await with_room(self._context.budget, self._job, output.source_expires_at, write)
        until = await queries().record_spooled(
            self._context.pool,
            upload=plan.id,
            job_id=output.job_id,
            run=self._job.run,
            index=output.index,
            key=spooled.key,
            secret=spooled.secret,
            bytes=spooled.bytes,
            keep=self._spool.keep_seconds,
        )
        if until is None:
            return "late"
        self._planned.discard(plan.id)
        shown = show("job", output.job_id)
        log.info("output.spooled", job_id=shown, index=output.index, bytes=spooled.bytes, until=moment(until))
        return "spooled"

    async def _write(self, output: Output, reserve: Reserve) -> tuple[_Plan, Spooled]:
        key = self._spool.new_key(output.job_id, output.index)
        limits = sizes_of(self._context, output).limits
        async with fetch(self._context, self._job, output) as file:
            head = await file.read(HEAD_BYTES)
            size = file.size or limits.max_bytes
            # What the file takes in memory, once, before the rest of it is read.
            async with reserve(min(sealed_size(size), self._spool.memory) + (size if wants_whole(head) else 0)):
                plan = await self._plan(output, key)
                looked_at = Inspected(Resumed(head, file), output.kind, limits)  # type: ignore[arg-type]
                return plan, await self._spool.store(key, output.job_id, output.index, looked_at, plan)

    async def _plan(self, output: Output, key: str) -> _Plan:
        plan = _Plan(self._context.pool, new_uuid())
        self._planned.add(plan.id)
        await queries().plan_spooling(
            self._context.pool,
            id=plan.id,
            job_id=output.job_id,
            index=output.index,
            bucket=self._spool.spec.bucket,
            key=key,
            worker_id=self._context.worker_id,
        )
        return plan


class _Plan:
    """The row that tells of an object before it is written (`service.outputs.multipart.Ledger`)."""

    def __init__(self, pool: Pool, upload: UUID) -> None:
        self._pool = pool
        self.id = upload

    async def begin(self, key: str) -> str:
        """Commit that an upload is about to be created; returns its mark."""
        await self.name(UNNAMED)
        return self.id.hex

    async def name(self, upload_id: str) -> None:
        """Commit the upload's id."""
        await queries().name_spooling(self._pool, id=self.id, upload_id=upload_id)

    async def doubt(self) -> None:
        """Commit that there may be another one."""
        await self.name(UNNAMED)

    async def end(self) -> None:
        """Leave the row: the object is not known to its output yet."""

    async def leave(self) -> None:
        """Leave the row: what came to nothing is discarded."""


async def clean_spool(context: Context) -> None:
    """Delete from the spool what is stored by now, has waited long enough, or was left there by a crash."""
    spool, pool = context.spool, context.pool
    if spool is None:
        return
    for _ in range(_BATCHES):
        told = await queries().release_spooled(pool, key=None, worker_id=context.worker_id, limit=_RELEASED)
        if int(told.rpartition(" ")[2]) < _RELEASED:
            break
    for _ in range(_BATCHES):
        rows = [row async for row in queries().take_spool_leavings(
            pool, silence=2 * context.silence, pause=_PAUSE, limit=_DELETED
        )]  # fmt: skip
        done = await asyncio.gather(*(_delete(context, spool, row) for row in rows))
        if len(rows) < _DELETED or not any(done):
            break
    counts = await queries().count_spooled(pool, within=min(_ENDING, spool.keep_seconds / 2))
    metrics.SPOOL_ENDING.set(counts["ending"])
    metrics.SPOOL_OBJECTS.labels("waiting").set(counts["waiting"])
    metrics.SPOOL_OBJECTS.labels("leaving").set(counts["leaving"])


async def _delete(context: Context, spool: Spool, row: Any) -> bool:
    told = {"job_id": show("job", row["job_id"]), "index": row["index"]}
    try:
        await spool.delete(row["key"], row["upload_id"], bucket=row["bucket"])
    except DestinationError as error:
        log.warning("spool.not_deleted", **told, tries=row["tries"], reason=error.message)
        return False
    await queries().forget_spool_leaving(context.pool, id=row["id"])
    log.info("spool.deleted", **told)
    return True
