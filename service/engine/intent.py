"""Taking a queued job up for its submit: the intent is committed before anything is sent."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from service.db.pool import Connection
from service.db.sql import queries
from service.engine import errors
from service.engine.context import Context
from service.engine.ledger import SUBMIT, Locked, lock, record
from service.engine.starting import begin
from service.engine.unclear import watch
from service.engine.verdicts import fail
from service.jobs.lifecycle import Happening, Status, SubmitState, decide
from service.jobs.model import Job, read_job
from service.points import reach
from service.providers.contract import ProviderAccess
from service.providers.registry import PROVIDERS


@dataclass(frozen=True, slots=True)
class Intent:
    """A committed attempt: what will be sent, and until when (monotonic) it may be."""

    job: Job
    access: ProviderAccess | None  # none is needed for a mock of our own
    body: bytes
    not_after: float


async def take_up(context: Context, job_id: UUID) -> Intent | None:
    """Commit the intent to send a due job; None when there is nothing to send, or what is due is something else."""
    return await _take_up_quickly(context, job_id) or await _take_up(context, job_id)


async def _take_up_quickly(context: Context, job_id: UUID) -> Intent | None:
    """Do in one statement what nearly every job needs: due, in time, on its first start. None: nothing was done."""
    rule = decide(Status.QUEUED, Happening.SUBMIT_STARTED)
    assert rule is not None
    not_after = time.monotonic() + context.settings.submit.window_seconds
    reach("submit.intent_before_commit")
    row = await queries().start_submit(
        context.pool,
        id=job_id,
        queued=Status.QUEUED.value,
        submitting=rule.next.value,
        in_flight=SubmitState.IN_FLIGHT.value,
        worker_id=context.worker_id,
        silence=context.silence,
        late=context.grace * 0.9,
        providers=[name for name in PROVIDERS if context.access(name) is not None],
    )
    if row is None:
        return None
    job = read_job(row)
    return Intent(job, context.access(job.provider), row["body"], not_after)


async def _take_up(context: Context, job_id: UUID) -> Intent | None:
    async with context.transaction() as connection:
        locked = await lock(connection, job_id)
        if locked is None or locked.job.due_at is None or locked.job.due_at > locked.now:
            return None
        if locked.job.status is Status.SUBMITTING:
            await watch(context, connection, locked)
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
        await fail(
            context,
            connection,
            locked,
            errors.deadline_exceeded(job.deadline_seconds, "queued"),
            happening=Happening.DEADLINE_PASSED,
        )
        return None
    access = context.access(job.provider)
    if access is None and not context.mocks(job):
        await fail(context, connection, locked, errors.no_key(job.provider))
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
        # Nothing was sent, and a retry is to hear of the input, not of a second charge.
        await queries().end_attempt(
            connection, job_id=job.id, number=attempt, outcome="not_run", task_id=None, note="the input is gone"
        )
        await fail(context, connection, begun, errors.input_gone())
        return None
    reach("submit.intent_before_commit")
    # The window is counted from before the commit, so that it can only be shorter than promised.
    return Intent(begun.job, access, body, time.monotonic() + context.settings.submit.window_seconds)
