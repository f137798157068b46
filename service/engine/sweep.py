"""The sweep: enqueues whatever is overdue. It is deadline watch, reconciler and repair in one."""

from __future__ import annotations

from typing import Any, NamedTuple
from uuid import UUID

import structlog
from pgqueuer import Queries

from service import metrics
from service.db.pool import Connection
from service.db.sql import queries
from service.engine.context import Context
from service.engine.ledger import SETTLE, TASK_OF, decide_urgency
from service.jobs.lifecycle import Status
from service.jobs.model import urgent_at

log = structlog.get_logger()

_MOST, _JOBS = 500, 4  # rows of one batch, and batches of jobs in one round: the queue need not hold all of a backlog


async def sweep(context: Context) -> None:
    """Enqueue what nobody has taken up: due jobs, and callbacks without a verdict."""
    # Statements of their own, for an idle worker: a nudge that is lost in between is made again after the grace.
    for _ in range(_JOBS):
        rows = queries().overdue_jobs(
            context.pool, grace=context.grace, full=context.gates.full_look_ups(), limit=_MOST
        )
        jobs = [_nudge_for(row) async for row in rows]
        await _send(context, jobs)
        if len(jobs) < _MOST:
            break
    rows = queries().forgotten_callbacks(context.pool, grace=context.grace, limit=_MOST)
    await _send(context, [_Nudge(SETTLE, row["job_id"]) async for row in rows])


class _Nudge(NamedTuple):
    task: str
    job_id: UUID
    urgency: int = 0


def _nudge_for(row: Any) -> _Nudge:
    status, loss = Status(row["status"]), urgent_at(row["source_expires_at"], row["created_at"])
    return _Nudge(TASK_OF[status], row["id"], decide_urgency(status, loss))


async def _send(context: Context, nudges: list[_Nudge]) -> None:
    if not nudges:
        return
    async with context.transaction() as connection:
        await _enqueue(connection, nudges)
    for nudge in nudges:
        metrics.SWEPT.labels(nudge.task).inc()
    log.info("work.swept", count=len(nudges))


async def _enqueue(connection: Connection, nudges: list[_Nudge]) -> None:
    # One nudge per task and job is enough: the key keeps a backlog from growing with every sweep.
    await Queries.from_asyncpg_connection(connection).enqueue(  # type: ignore[arg-type]
        [nudge.task for nudge in nudges],
        [nudge.job_id.bytes for nudge in nudges],
        [nudge.urgency for nudge in nudges],
        dedupe_key=[f"sweep:{nudge.task}:{nudge.job_id}" for nudge in nudges],
        on_conflict="skip",
    )
