"""The task `submit`: send a queued job to its provider, once, and watch over a submit whose outcome is open."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, assert_never
from uuid import UUID

import asyncpg
import structlog

from service.db.pool import DATABASE_AWAY, Connection
from service.db.sql import queries
from service.engine import errors
from service.engine.context import Context, backoff
from service.engine.ledger import SETTLE, SUBMIT, Locked, enqueue, lock, record
from service.engine.starting import begin
from service.engine.verdicts import first_poll, save_sources
from service.ids import show
from service.jobs.errors import JobError
from service.jobs.lifecycle import Happening, Status, SubmitState
from service.jobs.model import Job
from service.net.calls import AnswerLostError, NotSentError, send
from service.points import reach
from service.providers.contract import (
    Accepted,
    Finished,
    HttpCall,
    NotRun,
    ProviderAccess,
    Rejected,
    SubmitOutcome,
    TestMode,
    Unclear,
)

log = structlog.get_logger()

_MAX_RESUBMITS = 5
_RECORDING = 60.0  # seconds for which an outcome is held while the database is away
_BIG = 256 * 1024  # bytes


@dataclass(frozen=True, slots=True)
class Intent:
    """A committed attempt: what will be sent, and until when (monotonic) it may be."""

    job: Job
    access: ProviderAccess
    body: bytes
    not_after: float


async def submit(context: Context, job_id: UUID) -> None:
    """Do what a due job in `queued` or `submitting` needs; anything else is left alone."""
    intent = await _begin(context, job_id)
    if intent is None:
        return
    reach("submit.intent_committed")
    began = time.monotonic()
    outcome = await _call(context, intent)
    reach("submit.sent")
    await _finish_surely(context, intent.job, outcome)
    reach("submit.outcome_committed")
    log.info(
        "job.submitted",
        job_id=show("job", job_id),
        provider=intent.job.provider,
        attempt=intent.job.attempt,
        outcome=type(outcome).__name__,
        seconds=round(time.monotonic() - began, 3),
    )


async def _begin(context: Context, job_id: UUID) -> Intent | None:
    async with context.transaction() as connection:
        locked = await lock(connection, job_id)
        if locked is None or locked.job.due_at is None or locked.job.due_at > locked.now:
            return None
        if locked.job.status is Status.SUBMITTING:
            await _watch(context, connection, locked)
            return None
        if locked.job.status is not Status.QUEUED:
            return None
        if not _was_started_before(context, locked):
            return await _intend(context, connection, locked)
    return await _begin_again(context, job_id)


def _was_started_before(context: Context, locked: Locked) -> bool:
    """Suspect that somebody took the job up before and came to grief: it is late enough for a second hint."""
    due = locked.job.due_at or locked.now
    return locked.job.starts > 0 or locked.now - due > timedelta(seconds=context.grace * 0.9)


async def _begin_again(context: Context, job_id: UUID) -> Intent | None:
    """Count the start in a transaction of its own first, for the sake of a job that crashes whoever takes it up.

    Jobs that are taken up in time are spared this: their first start is what everybody pays for.
    """
    begun = await begin(context, SUBMIT, job_id, Status.QUEUED, lease=context.lease)
    if begun is None:
        return None
    async with context.transaction() as connection:
        locked = await lock(connection, job_id)
        if locked is None or locked.job.version != begun.job.version:
            return None
        return await _intend(context, connection, locked)


async def _intend(context: Context, connection: Connection, locked: Locked) -> Intent | None:
    job = locked.job
    if job.deadline_at <= locked.now:
        await _fail(
            context,
            connection,
            locked,
            errors.deadline_exceeded(job.deadline_seconds, "queued"),
            Happening.DEADLINE_PASSED,
        )
        return None
    access = context.access(job.provider)
    if access is None:
        await _fail(context, connection, locked, errors.no_key(job.provider))
        return None
    attempt = job.attempt + 1
    begun = await record(
        connection,
        locked,
        Happening.SUBMIT_STARTED,
        attempt=attempt,
        submit_state=SubmitState.IN_FLIGHT,
        tries=job.tries,
        due_at=min(locked.now + timedelta(seconds=context.silence), job.deadline_at),
    )
    assert begun is not None
    body = await queries().begin_attempt(
        connection, job_id=job.id, number=attempt, run=job.run, worker_id=context.worker_id
    )
    if body is None:
        await _fail(context, connection, begun, errors.input_gone())
        return None
    reach("submit.intent_before_commit")
    # The window is counted from before the commit, so that it can only be shorter than promised.
    return Intent(begun.job, access, body, time.monotonic() + context.settings.submit.window_seconds)


async def _build(context: Context, intent: Intent) -> HttpCall:
    job = intent.job
    mode = TestMode(job.test_status) if job.test_status else None  # type: ignore[arg-type]
    url = context.callback_url(job.provider, job.id, job.attempt)
    provider = context.provider(job.provider)

    def build() -> HttpCall:
        return provider.submit_call(intent.access, job.operation, json.loads(intent.body), url, mode)

    # Reading and writing megabytes of base64 would hold up every other job of this process.
    return await asyncio.to_thread(build) if len(intent.body) > _BIG else build()


async def _call(context: Context, intent: Intent) -> SubmitOutcome:
    job = intent.job
    timeout = context.provider_settings(job.provider).submit_timeout_seconds
    call = await _build(context, intent)
    try:
        reply = await send(context.provider_client, call, timeout=timeout, not_after=intent.not_after)
    except NotSentError as error:
        return NotRun(f"not sent: {error}")
    except AnswerLostError as error:
        return Unclear(f"no answer: {error}")
    return context.provider(job.provider).read_submit(job.operation, reply)


async def _finish_surely(context: Context, job: Job, outcome: SubmitOutcome) -> None:
    """Record the outcome, also when the database is away for a while: an answer that we have must not get lost."""
    until, pause = time.monotonic() + _RECORDING, 0.1
    while True:
        try:
            await _finish(context, job, outcome)
        except DATABASE_AWAY as error:
            if time.monotonic() + pause > until:
                raise
            log.warning("job.outcome_held", job_id=str(job.id), reason=type(error).__name__)
        else:
            return
        await asyncio.sleep(pause)
        pause = min(pause * 2, 2.0)


async def _finish(context: Context, job: Job, outcome: SubmitOutcome) -> None:
    try:
        await _finish_once(context, job, outcome)
    except asyncpg.UniqueViolationError:
        # The provider named a task that is another job's: whatever runs, it is not known to be ours.
        await _finish_once(context, job, Unclear("the provider answered with another job's task id"))


async def _finish_once(context: Context, job: Job, outcome: SubmitOutcome) -> None:
    async with context.transaction() as connection:
        locked = await lock(connection, job.id)
        if locked is None:
            return
        pending = await queries().end_attempt(
            connection,
            job_id=job.id,
            number=job.attempt,
            outcome=_OUTCOMES[type(outcome)],
            task_id=outcome.task_id if isinstance(outcome, Accepted | Finished) else None,
            note=_note(outcome),
        )
        # The job may have been canceled, judged by an early callback, or taken for unclear meanwhile. The answer still
        # counts for as long as this attempt is the one that the job waits for.
        current = locked.job.status is Status.SUBMITTING and locked.job.attempt == job.attempt
        if current:
            await _apply(context, connection, locked, outcome)
            if pending:
                await enqueue(connection, SETTLE, job.id)
        reach("submit.outcome_before_commit")


_OUTCOMES = {Accepted: "accepted", Finished: "finished", Rejected: "rejected", NotRun: "not_run", Unclear: "unclear"}


def _note(outcome: SubmitOutcome) -> str | None:
    return outcome.reason[:500] if isinstance(outcome, NotRun | Unclear) else None


async def _apply(context: Context, connection: Connection, locked: Locked, outcome: SubmitOutcome) -> None:
    now = locked.now
    match outcome:
        case Accepted(task_id):
            await record(
                connection,
                locked,
                Happening.ACCEPTED,
                outputs=[] if locked.job.run == 1 else None,
                provider_task_id=task_id,
                submitted_at=now,
                due_at=first_poll(context, locked),
            )
        case Finished(task_id, sources):
            await _finished(context, connection, locked, task_id, sources)
        case Rejected(error):
            await _fail(context, connection, locked, error, verified_by="sync")
        case NotRun(reason, retry_after):
            await _not_run(context, connection, locked, reason, retry_after)
        case Unclear():
            await _unclear(context, connection, locked)
        case _:
            assert_never(outcome)


async def _finished(
    context: Context, connection: Connection, locked: Locked, task_id: str | None, sources: Any
) -> None:
    if not sources:
        await _fail(context, connection, locked, errors.no_outputs(), verified_by="sync")
        return
    outputs = await save_sources(connection, locked.job, sources)
    await record(
        connection,
        locked,
        Happening.SUCCEEDED,
        outputs=outputs,
        provider_task_id=task_id,
        submitted_at=locked.now,
        verified_by="sync",
        progress=100,
        due_at=locked.now,
    )


async def _not_run(
    context: Context, connection: Connection, locked: Locked, reason: str, retry_after: float | None
) -> None:
    job, throttled = locked.job, not reason.startswith("not sent")
    tries = job.tries + 1
    # A provider that says "later" (429) is obeyed until the deadline; one that can't be reached is given up earlier.
    if not throttled and tries >= context.settings.submit.max_attempts:
        await _fail(context, connection, locked, errors.provider_unavailable(reason))
        return
    pause = backoff(tries - 1, 1.0, 60.0) if retry_after is None else timedelta(seconds=min(retry_after, 3600.0))
    await _requeue(connection, locked, tries, locked.now + pause)


async def _requeue(connection: Connection, locked: Locked, tries: int, due_at: datetime) -> None:
    await record(connection, locked, Happening.SUBMIT_NOT_RUN, tries=tries, due_at=min(due_at, locked.job.deadline_at))


async def _unclear(context: Context, connection: Connection, locked: Locked) -> None:
    job = locked.job
    pending = await queries().has_unjudged_callbacks(connection, job_id=job.id)
    if job.test and not pending:
        # Test jobs are free, so they are simply sent again, a few times.
        if job.tries + 1 >= _MAX_RESUBMITS:
            await _fail(context, connection, locked, errors.provider_unavailable("test submits fail"))
        else:
            await _requeue(connection, locked, job.tries + 1, locked.now + backoff(job.tries, 0.5, 10))
        return
    due = locked.now + timedelta(seconds=context.settings.submit.unknown_seconds)
    await record(
        connection,
        locked,
        Happening.SUBMIT_UNCLEAR,
        submit_state=SubmitState.UNCLEAR,
        due_at=min(due, max(job.deadline_at, locked.now)),
    )


async def _watch(context: Context, connection: Connection, locked: Locked) -> None:
    """A submit is due for a look: is its worker still at it, or has the time for a callback run out?"""
    job = locked.job
    if job.deadline_at <= locked.now:
        error = errors.deadline_exceeded(job.deadline_seconds, "submitting")
        await _fail(context, connection, locked, error, Happening.DEADLINE_PASSED)
    elif job.submit_state is SubmitState.IN_FLIGHT:
        until = await queries().attempt_is_alive_until(
            connection,
            job_id=job.id,
            number=job.attempt,
            silence=context.silence,
            window=context.settings.submit.window_seconds,
            longest=_longest(context, job),
        )
        if until is not None and until > locked.now:
            await record(
                connection,
                locked,
                Happening.SUBMIT_UNCLEAR,
                submit_state=SubmitState.IN_FLIGHT,
                due_at=min(until + timedelta(milliseconds=50), job.deadline_at),
            )
        else:
            await _unclear(context, connection, locked)
            await enqueue(connection, SETTLE, job.id)
    elif job.on_unclear == "resubmit" and job.tries + 1 < _MAX_RESUBMITS:
        await _requeue(connection, locked, job.tries + 1, locked.now)
    else:
        await _fail(context, connection, locked, errors.submit_unknown())


def _longest(context: Context, job: Job) -> float:
    """Return the seconds after which an attempt can't be under way any more, whatever its worker says."""
    timeout = context.provider_settings(job.provider).submit_timeout_seconds
    return context.settings.submit.window_seconds + timeout + _RECORDING


async def _fail(
    context: Context,
    connection: Connection,
    locked: Locked,
    error: JobError,
    happening: Happening = Happening.FAILED,
    **changes: Any,
) -> None:
    if await record(connection, locked, happening, error=error.as_json(), **changes) is not None:
        keep = context.settings.retention.retry_inputs_seconds
        await queries().keep_input_until(connection, job_id=locked.job.id, seconds=keep)
