"""What a client may do to its job: cancel it, and begin its next run."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import structlog

from service.db.pool import Connection
from service.db.sql import queries
from service.engine.admission import admit
from service.engine.context import Context
from service.engine.ledger import Locked, lock, outputs_of, record
from service.ids import show
from service.jobs.errors import ErrorCode
from service.jobs.lifecycle import RETRYABLE, Happening
from service.jobs.model import Job
from service.limits import Limits

log = structlog.get_logger()

# Ended like this, the provider has nothing to give: the next run submits anew.
_NOTHING_THERE = frozenset({ErrorCode.PROVIDER_FAILED, ErrorCode.PROVIDER_REJECTED, ErrorCode.NO_OUTPUTS})


DESTINATION_DELETED = "destination_deleted"  # a code of NotPossibleError


class NotPossibleError(Exception):
    """The job's state does not allow it; `code` and the message say why."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class NoSuchJobError(Exception):
    """The account has no such job."""


async def lock_own(connection: Connection, account_id: UUID, job_id: UUID) -> Locked:
    """Lock a job of the account; raises NoSuchJobError."""
    locked = await lock(connection, job_id)
    if locked is None or locked.job.account_id != account_id:
        raise NoSuchJobError
    return locked


async def cancel(context: Context, account_id: UUID, job_id: UUID) -> Job:
    """Cancel an open job; canceling a canceled one changes nothing. Objects already stored stay and are listed.

    Raises NoSuchJobError, NotPossibleError.
    """
    async with context.transaction() as connection:
        locked = await lock_own(connection, account_id, job_id)
        after = await record(connection, locked, Happening.CANCELED)
        if after is None:
            if locked.job.status.value == "canceled":
                return locked.job
            raise NotPossibleError("already_ended", f"the job has {locked.job.status.value} already")
        keep = context.settings.retention.retry_inputs_seconds
        await queries().keep_input_until(connection, job_id=job_id, seconds=keep)
    log.info("job.canceled", job_id=show("job", job_id), was=locked.job.status.value)
    return after.job


async def retry(
    context: Context, account_id: UUID, job_id: UUID, *, accept_second_charge: bool, limits: Limits | None = None
) -> Job:
    """Begin the next run of a failed or canceled job, from as far as the last one came.

    If its destination was deleted, the one that has its name now is taken. limits: as in `take_in`. Raises NoSuchJobError,
    NotPossibleError, TooManyError.
    """
    async with context.transaction() as connection:
        locked = await lock_own(connection, account_id, job_id)
        if locked.job.status not in RETRYABLE:
            raise NotPossibleError(
                "not_retryable", f"only a failed or canceled job is retried; this one is {locked.job.status.value}"
            )
        locked = await _bind(connection, locked)
        job = locked.job
        happening, changes = await _decide_start(connection, locked, accept_second_charge)
        await admit(connection, account_id, limits)
        after = await record(
            connection,
            locked,
            happening,
            run=job.run + 1,
            deadline_at=locked.now + timedelta(seconds=job.deadline_seconds),
            **changes,
        )
        assert after is not None
        await queries().keep_input(connection, job_id=job_id)
    log.info("job.retried", job_id=show("job", job_id), run=after.job.run, start=happening.value)
    return after.job


async def _bind(connection: Connection, locked: Locked) -> Locked:
    """Give a job whose destination was deleted the account's destination of the same name; raises NotPossibleError."""
    job = locked.job
    if job.test or job.destination_id is None:
        return locked
    destination_id = await queries().rebind_job(connection, id=job.id)
    if destination_id is None:
        raise NotPossibleError(
            DESTINATION_DELETED,
            f"the job's destination {job.destination!r} has been deleted; put a destination of that name and retry the job, "
            "or use `copy` to store its outputs in another one",
        )
    return replace(locked, job=replace(job, destination_id=destination_id))


def _has_vanished(job: Job) -> bool:
    """Return whether the job failed without a word of the provider's: its task is not known there."""
    error = job.error
    return error is not None and error["code"] == ErrorCode.PROVIDER_FAILED and error["provider"] is None


async def _task_of(connection: Connection, job: Job, attempt: Any) -> str | None:
    """Return the task id that only the run's attempt knows: its job was canceled before the answer came."""
    if attempt is None or attempt["run"] != job.run or attempt["task_id"] is None:
        return None
    task_id: str = attempt["task_id"]
    taken = await queries().task_belongs_to_another(connection, provider=job.provider, task_id=task_id, job_id=job.id)
    return None if taken else task_id


async def _decide_start(
    connection: Connection, locked: Locked, accept_second_charge: bool
) -> tuple[Happening, dict[str, Any]]:
    """Decide where the next run begins: with the outputs that are known, with the task, or with a new submit."""
    job = locked.job
    if job.copy_of is not None:
        # It never had a task, nor anything to submit.
        return Happening.RETRY_FROM_OUTPUTS, {"due_at": locked.now}
    attempt = await queries().last_attempt(connection, job_id=job.id)
    task_id = job.provider_task_id or await _task_of(connection, job, attempt)
    nothing_there = job.error is not None and job.error["code"] in _NOTHING_THERE
    fresh = {"provider_status": None, "progress": None, "verified_by": None}
    gone = task_id is None and job.error is not None and job.error["code"] == ErrorCode.OUTPUT_EXPIRED
    known = job.verified_by is not None and not nothing_there and not gone and not job.test
    if known and await outputs_of(connection, job.id):
        return Happening.RETRY_FROM_OUTPUTS, {"due_at": locked.now}
    if task_id is not None and not nothing_there and not job.test:
        return Happening.RETRY_FROM_TASK, {**fresh, "provider_task_id": task_id, "due_at": locked.now}
    unclear = attempt is not None and attempt["outcome"] in {None, "unclear"} and not job.test
    # An answer that was the result came too late for its job: it ran.
    unclear = unclear or (
        attempt is not None and attempt["outcome"] == "finished" and not nothing_there and not job.test
    )
    # A task that the provider accepted and then no longer knew may have run, whoever lost it.
    unclear = unclear or (_has_vanished(job) and not job.test)
    if unclear and not accept_second_charge:
        raise NotPossibleError(
            "second_charge",
            'the last submit may have run and may be charged; send {"accept_second_charge": true} to submit again all the same',
        )
    if await queries().get_input(connection, job_id=job.id) is None:
        raise NotPossibleError("input_gone", "the job's input is not kept any more; submit it as a new job")
    # What the last run asked the provider does not keep this one's first callback waiting.
    anew = {"provider_task_id": None, "read_back_at": None, "due_at": locked.now}
    return Happening.RETRY_FROM_START, {**fresh, **anew}
