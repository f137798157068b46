"""Deleting a job by hand: its row and everything about it in one transaction; the objects in buckets stay."""

from __future__ import annotations

from uuid import UUID

import structlog

from service import metrics
from service.db.sql import queries
from service.engine.commands import NoSuchJobError, NotPossibleError
from service.engine.context import Context
from service.ids import show

log = structlog.get_logger()


async def delete_job(context: Context, account_id: UUID, job_id: UUID) -> None:
    """Delete a job of the account that has ended. Raises NoSuchJobError, NotPossibleError.

    Deliveries of it that are still pending go too. What it has in the spool is deleted there by the next housekeeping, and an
    upload that was left open is aborted as it would have been anyway. Its idempotency key stays, so that nobody pays twice.
    """
    async with context.transaction() as connection:
        row = await queries().lock_job_to_delete(connection, id=job_id, account_id=account_id)
        if row is None:
            raise NoSuchJobError
        if row["completed_at"] is None:
            raise NotPossibleError("not_ended", f"the job is {row['status']}; cancel it first")
        if await queries().is_being_copied(connection, id=job_id):
            raise NotPossibleError("being_copied", "a copy of the job is under way, and may take its outputs from it")
        await queries().leave_spool(connection, job_ids=[job_id], worker_id=context.worker_id)
        await queries().delete_jobs(connection, ids=[job_id])
    metrics.PURGED.labels("jobs").inc()
    log.info("job.deleted", job_id=show("job", job_id))
