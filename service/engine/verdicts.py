"""What a provider's word about a task does to its job; shared by the submit's answer, callbacks and polls."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, assert_never

from service.db.pool import Connection
from service.db.sql import queries
from service.engine import errors
from service.engine.context import Context, backoff
from service.engine.ledger import Locked, Told, outputs_of, postpone, record, tell
from service.jobs.errors import JobError
from service.jobs.lifecycle import EventType, Happening
from service.jobs.model import Job, Output, moment, read_output
from service.providers.contract import (
    Failed,
    LookUpOutcome,
    LookUpUnavailable,
    Source,
    StillRunning,
    Succeeded,
    TaskNotFound,
)

READ_BACK_PAUSE = 10.0  # seconds; callbacks never cause more than one read-back per job and this
_EMPTY_SUCCESSES = 5
_NOT_FOUNDS = 10
# No operation makes more than 15; an answer that lists thousands is not one to follow.
_MOST_OUTPUTS = 64


def first_poll(context: Context, locked: Locked) -> datetime:
    """Return when a job that was just accepted is read back for the first time, should no callback come."""
    job = locked.job
    if job.test:
        # A mock can't be read back: only its callback or the deadline ends a test job.
        return job.deadline_at
    pause = timedelta(seconds=context.settings.reconcile.first_seconds)
    return min(locked.now + pause, max(job.deadline_at, locked.now))


def next_poll(context: Context, locked: Locked) -> datetime:
    """Return when a running job is read back next; pauses double up to the longest."""
    settings, job = context.settings.reconcile, locked.job
    pause = backoff(job.tries + 1, settings.first_seconds, settings.max_seconds)
    return min(locked.now + pause, max(job.deadline_at, locked.now))


def _after_trouble(context: Context, locked: Locked, retry_after: float | None) -> datetime:
    """Return when to ask again after a read-back without an answer: soon, for outputs do not live long."""
    settings, job = context.settings.reconcile, locked.job
    pause = backoff(job.tries, min(READ_BACK_PAUSE, settings.first_seconds), settings.max_seconds)
    told_to = timedelta(seconds=min(retry_after or 0.0, settings.max_seconds))
    return min(locked.now + max(pause, told_to), max(job.deadline_at, locked.now))


async def save_sources(connection: Connection, job: Job, sources: Sequence[Source]) -> list[Output]:
    """Write what a verdict found into `outputs`, and return the job's outputs."""
    sources = sources[:_MOST_OUTPUTS]
    status = "mock" if job.test else "pending"
    inline = {} if job.test else {source.index: source.inline for source in sources if source.inline is not None}
    rows = queries().upsert_outputs(
        connection,
        job_id=job.id,
        status=status,
        indexes=[source.index for source in sources],
        kinds=[source.kind for source in sources],
        urls=[None if job.test else source.url for source in sources],
        ttls=[None if source.ttl_seconds is None else float(source.ttl_seconds) for source in sources],
        nsfw=[source.nsfw for source in sources],
        encoded=[source.encoded for source in sources],
        inline=[source.index in inline for source in sources],
    )
    written = [read_output(row) async for row in rows]
    if inline:
        await queries().keep_inline(connection, job_id=job.id, indexes=list(inline), bodies=list(inline.values()))
    # A later run may have outputs of an earlier one beside them.
    return written if job.run == 1 else await outputs_of(connection, job.id)


async def apply_found(
    context: Context, connection: Connection, locked: Locked, found: LookUpOutcome, told: tuple[Told, ...] = ()
) -> Locked | None:
    """Apply a read-back to a running job, along with the events of the callbacks it judged."""
    match found:
        case Succeeded(status, sources) if sources:
            return await _succeeded(connection, locked, status, sources, told)
        case Succeeded(status):
            return await _again(context, connection, locked, status, _EMPTY_SUCCESSES, errors.no_outputs(), told)
        case Failed(status, error):
            return await fail(context, connection, locked, error, told, provider_status=status, verified_by="readback")
        case StillRunning(status, progress):
            return await _still_running(context, connection, locked, status, progress, told)
        case TaskNotFound():
            kept = locked.job.provider_status
            return await _again(context, connection, locked, kept, _NOT_FOUNDS, errors.task_vanished(), told)
        case LookUpUnavailable(_, retry_after):
            after = await tell(connection, locked, told)
            return await postpone(
                connection, after, _after_trouble(context, locked, retry_after), tries=locked.job.tries + 1
            )
        case _:
            assert_never(found)


async def apply_mock(
    context: Context, connection: Connection, locked: Locked, found: Succeeded | Failed, told: tuple[Told, ...]
) -> Locked | None:
    """Apply a test job's mock, which its token vouches for; nothing is copied."""
    if isinstance(found, Failed):
        return await fail(
            context, connection, locked, found.error, told, provider_status=found.provider_status, verified_by="token"
        )
    outputs = await save_sources(connection, locked.job, found.sources)
    return await record(
        connection,
        locked,
        Happening.MOCK_SUCCEEDED,
        outputs=outputs,
        also=told,
        provider_status=found.provider_status,
        verified_by="token",
        progress=100,
    )


async def fail(
    context: Context,
    connection: Connection,
    locked: Locked,
    error: JobError,
    told: tuple[Told, ...] = (),
    happening: Happening = Happening.FAILED,
    **changes: Any,
) -> Locked | None:
    """End a job badly; its input is kept for a while, because `retry` may send it again."""
    outputs = None
    if error.code in errors.BUCKETS_OWN:
        outputs = await outputs_of(connection, locked.job.id)
        error = errors.with_time_left(error, outputs, locked.now)
    after = await record(connection, locked, happening, outputs=outputs, also=told, error=error.as_json(), **changes)
    if after is not None:
        keep = context.settings.retention.retry_inputs_seconds
        await queries().keep_input_until(connection, job_id=locked.job.id, seconds=keep)
    return after


async def _succeeded(
    connection: Connection, locked: Locked, status: str, sources: Sequence[Source], told: tuple[Told, ...]
) -> Locked | None:
    outputs = await save_sources(connection, locked.job, sources)
    return await record(
        connection,
        locked,
        Happening.SUCCEEDED,
        outputs=outputs,
        also=told,
        provider_status=status,
        verified_by="readback",
        progress=100,
        due_at=locked.now,
    )


async def _still_running(
    context: Context,
    connection: Connection,
    locked: Locked,
    status: str | None,
    progress: int | None,
    told: tuple[Told, ...],
) -> Locked | None:
    job = locked.job
    if status == job.provider_status and progress == job.progress:
        after = await tell(connection, locked, told)
        return await postpone(connection, after, next_poll(context, locked), tries=job.tries + 1)
    return await record(
        connection,
        locked,
        Happening.PROGRESSED,
        outputs=[] if job.run == 1 else None,
        also=told,
        provider_status=status,
        progress=progress,
        tries=job.tries + 1,
        starts=0,
        due_at=next_poll(context, locked),
    )


async def _again(
    context: Context,
    connection: Connection,
    locked: Locked,
    status: str | None,
    limit: int,
    error: JobError,
    told: tuple[Told, ...],
) -> Locked | None:
    """Read again a bounded number of times, soon: the provider may just be late with its own books."""
    job = locked.job
    if job.rereads + 1 >= limit:
        return await fail(context, connection, locked, error, told, provider_status=status, verified_by="readback")
    after = await tell(connection, locked, told)
    pause = min(READ_BACK_PAUSE, context.settings.reconcile.first_seconds)
    return await postpone(
        connection, after, locked.now + timedelta(seconds=pause), rereads=job.rereads + 1, provider_status=status
    )


def callback_told(row: Any, verdict: str) -> Told:
    """Return the event about one judged callback: verdict and time, never the body."""
    return Told(
        EventType.CALLBACK,
        {"callback": {"verdict": verdict, "attempt": row["attempt"], "received_at": moment(row["received_at"])}},
    )
