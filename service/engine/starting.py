"""Starting a task, and giving it up: starts are counted before anything can crash, because a crash can't count itself."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import structlog

from service import metrics
from service.db.sql import queries
from service.engine.context import Context
from service.engine.ledger import LOOK_UP, SETTLE, Locked
from service.ids import new_uuid, show
from service.jobs.lifecycle import UNDER_DEADLINE, Status
from service.jobs.model import read_job

log = structlog.get_logger()


async def begin(
    context: Context, task: str, job_id: UUID, status: Status, *, lease: float, full: Sequence[str] = ()
) -> Locked | None:
    """Take a due job in `status` for a task; None when it is not due, in another state, or given up.

    full: providers that have no room for another read-back.
    lease: seconds until somebody else may take it; a duplicate of the task finds the job not due and goes away.
    """
    row = await queries().begin_task(
        context.pool, id=job_id, status=status.value, lease=lease, reads_back=task == LOOK_UP, full=full
    )
    if row is None:
        return None
    locked = Locked(read_job(row), row["clock"])
    if row["starts"] > context.settings.engine.max_starts:
        if status in UNDER_DEADLINE and locked.job.deadline_at <= locked.now:
            # Given up before, and nobody revived it in time: the task sees the deadline before anything else.
            return locked
        await bury(context, task, job_id, f"started {row['starts'] - 1} times without an end")
        return None
    return locked


async def after_exception(context: Context, task: str, job_id: UUID, reason: str) -> None:
    """A task raised: its job is due again after a pause, or the task is given up."""
    # `begin` has counted look_up and copy already.
    if task in {LOOK_UP, "copy"}:
        job = await queries().peek_job(context.pool, id=job_id)
        starts = job["starts"] if job else 0
    else:
        starts = await queries().count_start(context.pool, id=job_id) or 0
    if starts >= context.settings.engine.max_starts:
        await bury(context, task, job_id, reason)
    elif task != SETTLE:
        await queries().put_off(context.pool, id=job_id, seconds=2.0**starts)


async def bury(context: Context, task: str, job_id: UUID, reason: str) -> None:
    """Give a task up: a dead letter with the reason, a metric, and a job that waits to be revived."""
    async with context.transaction() as connection:
        await queries().bury(connection, id=new_uuid(), job_id=job_id, task=task, reason=reason[:500])
        if task == SETTLE:
            await queries().abandon_callbacks(connection, job_id=job_id)
            # The clock may still find the truth out: what its own task has coming is not used up.
            await queries().end_start(connection, id=job_id)
        else:
            await queries().leave_line(connection, job_id=job_id)
            await queries().lay_aside(connection, id=job_id, under_deadline=[s.value for s in UNDER_DEADLINE])
    metrics.DEAD_LETTERS.labels(task).inc()
    log.error("task.given_up", task=task, job_id=show("job", job_id), reason=reason[:500], next="genrelay dead retry")
