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

from service.db.pool import Connection
from service.db.sql import queries
from service.engine import errors
from service.engine.context import Context, backoff
from service.engine.ledger import SETTLE, Locked, enqueue, lock, record
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

_WATCH = timedelta(seconds=10)
_WORKER_SILENT = 20  # seconds; a submit whose worker was not seen for so long is unclear
_MAX_RESUBMITS = 5
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
    await _finish(context, intent.job, outcome)
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
    body = await queries().get_input(connection, job_id=job.id)
    if access is None or body is None:
        error = errors.no_key(job.provider) if access is None else errors.input_gone()
        await _fail(context, connection, locked, error)
        return None
    attempt = job.attempt + 1
    begun = await record(
        connection,
        locked,
        Happening.SUBMIT_STARTED,
        attempt=attempt,
        submit_state=SubmitState.IN_FLIGHT,
        tries=job.tries,
        due_at=locked.now + _WATCH,
    )
    assert begun is not None
    await queries().begin_attempt(connection, job_id=job.id, number=attempt, run=job.run, worker_id=context.worker_id)
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
        await queries().end_attempt(
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
            if await queries().has_unjudged_callbacks(connection, job_id=job.id):
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
    if job.submit_state is SubmitState.IN_FLIGHT:
        alive = await queries().attempt_worker_is_alive(
            connection, job_id=job.id, number=job.attempt, seconds=_WORKER_SILENT
        )
        if alive:
            await record(
                connection,
                locked,
                Happening.SUBMIT_UNCLEAR,
                submit_state=SubmitState.IN_FLIGHT,
                due_at=locked.now + _WATCH,
            )
        else:
            await _unclear(context, connection, locked)
            await enqueue(connection, SETTLE, job.id)
    elif job.on_unclear == "resubmit" and job.deadline_at > locked.now and job.tries + 1 < _MAX_RESUBMITS:
        await _requeue(connection, locked, job.tries + 1, locked.now)
    else:
        await _fail(context, connection, locked, errors.submit_unknown())


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
