"""Taking a queued job up for its submit: the intent is committed before anything is sent."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from service.db.pool import Connection
from service.db.sql import queries
from service.engine import errors
from service.engine.attempts import begin_attempt, offers
from service.engine.context import Context, backoff
from service.engine.gate import Visit
from service.engine.ledger import SUBMIT, Locked, lock, postpone, record
from service.engine.line import TURN, hand_over, join
from service.engine.starting import begin
from service.engine.unclear import watch
from service.engine.verdicts import fail
from service.jobs.errors import JobError
from service.jobs.lifecycle import Happening, Status, SubmitState, decide
from service.jobs.model import Job, read_job
from service.points import reach
from service.providers.contract import ProviderAccess

_FULL, _LONGEST = 0.5, 10.0  # seconds until a test job that found no room tries again: at first, and at last
_LONGEST_FOR_OTHERS = 60.0  # seconds at last, where only other processes can let it go
_Ready = tuple[Job, ProviderAccess | None, bytes, float]


@dataclass(frozen=True, slots=True)
class Intent:
    """A committed attempt: what will be sent, and until when (monotonic) it may be. visit: its place, to be left again."""

    job: Job
    access: ProviderAccess | None  # none is needed for a mock of our own
    body: bytes
    not_after: float
    visit: Visit


async def take_up(context: Context, job_id: UUID) -> Intent | None:
    """Commit the intent to send a due job; None when there is nothing to send, or what is due is something else.

    A job that can't go to its provider now is put in line. Whoever gets an intent leaves its visit when the call is over.
    """
    turn = context.gates.turn
    await turn.acquire()
    with context.gates.deciding(job_id):
        try:
            intent = await _take_up_quickly(context, job_id)
            if intent is not None or await join(context, context.pool, job_id):
                return intent
        finally:
            turn.release()
        return await _take_up(context, job_id)


def _enter(context: Context, job: Job) -> Visit:
    """Take the job's place at the gate; a mock of our own goes through none."""
    gate = None if context.mocks(job) else context.gates.submits(job.provider, job.operation)
    return Visit(None) if gate is None else gate.enter(counts=not job.test)


async def _take_up_quickly(context: Context, job_id: UUID) -> Intent | None:
    """Do in one statement what nearly every job needs: due, in time, on its first start. None: nothing was done."""
    rule = decide(Status.QUEUED, Happening.SUBMIT_STARTED)
    assert rule is not None
    not_after = time.monotonic() + context.settings.submit.window_seconds
    closed = context.gates.closed_for(job_id)
    reach("submit.intent_before_commit")
    row = await queries().start_submit(
        context.pool,
        id=job_id,
        queued=Status.QUEUED.value,
        submitting=rule.next.value,
        in_flight=SubmitState.IN_FLIGHT.value,
        worker_id=context.worker_id,
        silence=context.silence,
        window=context.settings.submit.window_seconds,
        late=context.grace * 0.9,
        **offers(context),
        held=context.gates.held(),
        turn=TURN,
        closed=closed,
        closed_for_tests=context.gates.native(closed) if closed else [],
        token_key=context.keyring.fingerprints[0],
    )
    if row is None:
        return None
    job = read_job(row)
    return Intent(job, context.access(job.provider), row["body"], not_after, _enter(context, job))


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
        again = _was_started_before(context, locked)
        ready = None if again else await _intend(context, connection, locked)
    return await _begin_again(context, job_id) if again else _set_out(context, ready)


def _set_out(context: Context, ready: _Ready | None) -> Intent | None:
    """Take the place at the gate, now that the intent is committed; it was free, and nobody else could think so since."""
    return None if ready is None else Intent(*ready, _enter(context, ready[0]))


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
        ready = await _intend(context, connection, locked)
    return _set_out(context, ready)


async def _intend(context: Context, connection: Connection, locked: Locked) -> _Ready | None:
    job = locked.job
    if job.deadline_at <= locked.now:
        error = await _too_late(context, connection, job)
        await fail(context, connection, locked, error, happening=Happening.DEADLINE_PASSED)
        return None
    if not context.knows(job.provider, job.operation):
        await _leave_to_others(context, connection, locked)
        return None
    access = context.access(job.provider)
    if access is None and not context.mocks(job):
        await fail(context, connection, locked, errors.no_key(job.provider))
        return None
    # The window is counted from before the turn is looked at, so that it can only be shorter than promised.
    not_after = time.monotonic() + context.settings.submit.window_seconds
    if await _must_wait(context, connection, locked):
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
    body = await begin_attempt(context, connection, job, attempt)
    if body is None:
        # Nothing was sent, and a retry is to hear of the input, not of a second charge.
        await queries().end_attempt(
            connection, job_id=job.id, number=attempt, outcome="not_run", task_id=None, note="the input is gone"
        )
        await fail(context, connection, begun, errors.input_gone())
        return None
    reach("submit.intent_before_commit")
    return begun.job, access, body, not_after


async def _must_wait(context: Context, connection: Connection, locked: Locked) -> bool:
    """Put a job off that can't go to its provider now: a paid one in line, a test job for a while."""
    job = locked.job
    if not job.test:
        return await join(context, connection, job.id, version=job.version)
    gate = context.gates.submits(job.provider, job.operation)
    if context.mocks(job) or not gate.is_closed_for(job.id):
        return False
    pause = max(backoff(job.tries, _FULL, _LONGEST), timedelta(seconds=gate.opens_in))
    await postpone(connection, locked, min(locked.now + pause, job.deadline_at), tries=job.tries + 1)
    return True


async def _leave_to_others(context: Context, connection: Connection, locked: Locked) -> None:
    """Leave a job to processes whose settings name its operation: ours may be the older ones, or the newer."""
    job = locked.job
    if job.test:
        pause = backoff(job.tries, _FULL, _LONGEST_FOR_OTHERS)
        await postpone(connection, locked, min(locked.now + pause, job.deadline_at), tries=job.tries + 1)
    else:
        await hand_over(connection, job)


async def _too_late(context: Context, connection: Connection, job: Job) -> JobError:
    if context.knows(job.provider, job.operation):
        return errors.deadline_exceeded(job.deadline_seconds, "queued", await _why(context, connection, job))
    return errors.not_offered(job.deadline_seconds, job.provider, job.operation)


async def _why(context: Context, connection: Connection, job: Job) -> str:
    """Return why a job has never got through, as far as it is known: in the words of its last try."""
    attempt = await queries().last_attempt(connection, job_id=job.id)
    if attempt is not None and attempt["run"] == job.run and attempt["outcome"] == "not_run":
        return str(attempt["note"] or "")
    return "" if context.mocks(job) else context.gates.submits(job.provider, job.operation).trouble
