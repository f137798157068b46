"""What the answer to a submit does to its job."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, assert_never

import asyncpg

from service.db.pool import Connection
from service.db.sql import queries
from service.engine import errors
from service.engine.context import Context
from service.engine.ledger import SETTLE, Locked, enqueue, lock, record
from service.engine.unclear import leave_unclear, not_run
from service.engine.verdicts import fail, first_poll, save_sources
from service.jobs.lifecycle import Happening, Status
from service.jobs.model import Job
from service.points import reach
from service.providers.contract import Accepted, Finished, NotRun, Rejected, SubmitOutcome, Unclear


async def record_outcome(context: Context, job: Job, outcome: SubmitOutcome) -> None:
    """Write what became of an attempt, and move its job if it still waits for this one."""
    try:
        await _record_once(context, job, outcome)
    except asyncpg.UniqueViolationError:
        # The provider named a task that is another job's. A result that came along is ours all the same; otherwise whatever
        # runs is not known to be ours.
        if isinstance(outcome, Finished) and outcome.sources:
            await _record_once(context, job, replace(outcome, task_id=None))
        else:
            await _record_once(context, job, Unclear("the provider answered with another job's task id"))


async def _record_once(context: Context, job: Job, outcome: SubmitOutcome) -> None:
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
            # Some refusals are ours: the operation was switched off meanwhile.
            await fail(context, connection, locked, error, verified_by="sync" if error.provider else None)
        case NotRun(reason, retry_after):
            await not_run(context, connection, locked, reason, retry_after)
        case Unclear(reason):
            await leave_unclear(context, connection, locked, reason)
        case _:
            assert_never(outcome)


async def _finished(
    context: Context, connection: Connection, locked: Locked, task_id: str | None, sources: Any
) -> None:
    if not sources:
        await fail(context, connection, locked, errors.no_outputs(), verified_by="sync")
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
