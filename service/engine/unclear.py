"""A submit whose outcome is open: sent again when it is known not to have run, watched when nobody knows."""

from __future__ import annotations

from datetime import datetime, timedelta

from service.db.pool import Connection
from service.db.sql import queries
from service.engine import errors
from service.engine.attempts import find_attempt
from service.engine.context import Context, backoff
from service.engine.gate import LONGEST_PAUSE, LONGEST_TOLD
from service.engine.ledger import SETTLE, Locked, enqueue, record
from service.engine.line import return_to_line
from service.engine.verdicts import READ_BACK_PAUSE, fail
from service.jobs.lifecycle import Happening, SubmitState
from service.jobs.model import Job

_PATIENCE = 2.5  # times the silence after which other work is taken up by somebody else
_MAX_SUBMITS = 5  # of a run whose outcome stayed unclear


async def not_run(
    context: Context, connection: Connection, locked: Locked, reason: str, retry_after: float | None
) -> None:
    """Put a job back into the queue: its submit is proven not to have run."""
    job, tries = locked.job, locked.job.tries + 1
    # A provider that says "later" (429) is obeyed until the deadline; one that can't be reached is given up earlier.
    if reason.startswith("not sent"):
        counted = await queries().count_attempts(connection, job_id=job.id, run=job.run)
        most = context.settings.submit.max_attempts
        if most is not None and counted["unreachable"] >= most:
            await fail(context, connection, locked, errors.provider_unavailable(reason))
            return
    pause = backoff(tries - 1, 1.0, 60.0)
    if retry_after is not None:
        # Obeyed, but a provider that says "at once" again and again does not get a loop of submits.
        told = timedelta(seconds=min(retry_after, LONGEST_TOLD))
        pause = max(told, backoff(tries - 1, 0.5, 10.0))
    nothing_sent = reason.startswith("not sent")
    if not nothing_sent and not job.test:
        pause = max(pause, await _pause_lane(context, connection, job, None if retry_after is None else pause))
    await _requeue(context, connection, locked, tries, locked.now + pause, refund=nothing_sent)


async def _pause_lane(context: Context, connection: Connection, job: Job, told: timedelta | None) -> timedelta:
    """Tell all processes of a 429 where grants are given; returns for how long this one lets nobody go."""
    gate = context.gates.submits(job.provider, job.operation)
    if gate.limited:
        seconds = None if told is None else told.total_seconds()
        await queries().pause_lane(
            connection, provider=job.provider, operation=job.operation, told=seconds, longest=LONGEST_PAUSE
        )
    # A little more, so that the job does not find the gate closed by a moment.
    return timedelta(seconds=gate.opens_in + 0.01)


async def _may_resubmit(connection: Connection, job: Job) -> bool:
    counted = await queries().count_attempts(connection, job_id=job.id, run=job.run)
    return bool(counted["unclear"] < _MAX_SUBMITS)


async def _requeue(
    context: Context, connection: Connection, locked: Locked, tries: int, due_at: datetime, *, refund: bool = False
) -> None:
    """Send it again later: at its time, or, if it came out of the line, when it is its turn again."""
    due = min(due_at, locked.job.deadline_at)
    if await return_to_line(context, connection, locked.job, due, refund=refund):
        due = locked.job.deadline_at
    await record(connection, locked, Happening.SUBMIT_NOT_RUN, tries=tries, due_at=due)


async def leave_unclear(context: Context, connection: Connection, locked: Locked, reason: str = "") -> None:
    """Let a submit that may have run wait for its callback; `reason` is what we know of its answer."""
    job = locked.job
    pending = await queries().has_unjudged_callbacks(connection, job_id=job.id)
    if job.test and not pending:
        # Test jobs are free, so they are simply sent again, a few times.
        if await _may_resubmit(connection, job):
            await _requeue(context, connection, locked, job.tries + 1, locked.now + backoff(job.tries, 0.5, 10))
        else:
            await fail(context, connection, locked, errors.mock_lost(reason))
        return
    if (await find_attempt(context, connection, job)).is_call:
        # No callback will ever tell.
        await _end_unclear(context, connection, locked)
        return
    due = locked.now + timedelta(seconds=context.settings.submit.unknown_seconds)
    await record(
        connection,
        locked,
        Happening.SUBMIT_UNCLEAR,
        submit_state=SubmitState.UNCLEAR,
        due_at=min(due, max(job.deadline_at, locked.now)),
    )


async def watch(context: Context, connection: Connection, locked: Locked) -> None:
    """A submit is due for a look: is its worker still at it, or has the time for a callback run out?"""
    job = locked.job
    if job.deadline_at <= locked.now:
        error = errors.deadline_exceeded(job.deadline_seconds, "submitting")
        await fail(context, connection, locked, error, happening=Happening.DEADLINE_PASSED)
    elif job.submit_state is SubmitState.IN_FLIGHT:
        until = await _alive_until(context, connection, locked)
        if until is not None and until > locked.now:
            await record(
                connection,
                locked,
                Happening.SUBMIT_UNCLEAR,
                submit_state=SubmitState.IN_FLIGHT,
                due_at=min(until + timedelta(milliseconds=50), job.deadline_at),
            )
        else:
            await leave_unclear(context, connection, locked)
            await enqueue(connection, SETTLE, job.id)
    elif await queries().has_unjudged_callbacks(connection, job_id=job.id):
        # Its callback is here, only the read-back has not been to be had yet: nothing is decided over its head.
        await enqueue(connection, SETTLE, job.id)
        again = min(locked.now + timedelta(seconds=READ_BACK_PAUSE), job.deadline_at)
        await record(connection, locked, Happening.SUBMIT_UNCLEAR, submit_state=SubmitState.UNCLEAR, due_at=again)
    else:
        await _end_unclear(context, connection, locked)


async def _alive_until(context: Context, connection: Connection, locked: Locked) -> datetime | None:
    """Return until when the attempt may be under way; None when nobody is at it any more.

    To take a call that is answered with the result for dead throws a paid result away, so nothing is decided about one
    that runs here, and silence counts longer, and only for as long as this process itself was not away.
    """
    if context.calls.carries(locked.job.id):
        return locked.now + timedelta(seconds=context.silence)
    attempt = await find_attempt(context, connection, locked.job)
    patience = attempt.silence * (_PATIENCE if attempt.is_call else 1)
    until = attempt.alive_until(patience)
    unsteady = patience - context.pulse.steady_for
    if until is not None and attempt.is_call and unsteady > 0:
        until = max(until, locked.now + timedelta(seconds=unsteady))
    return until


async def _end_unclear(context: Context, connection: Connection, locked: Locked) -> None:
    """Nobody will tell any more whether the submit ran: send it again if the job asked for that, else say so."""
    job = locked.job
    if job.on_unclear == "resubmit" and await _may_resubmit(connection, job):
        await _requeue(context, connection, locked, job.tries + 1, locked.now)
    else:
        is_call = (await find_attempt(context, connection, job)).is_call
        await fail(context, connection, locked, errors.submit_unknown(calls_back=not is_call))
