"""Making things old: housekeeping goes by ids, which tell when a thing was made, and by the times in its columns."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from service.ids import first_id, new_uuid

DAY = 86_400.0

# Everything that a job's id stands in, and every time of it, so many seconds ago.
_JOB_IDS = (
    "job_inputs", "attempts", "outputs", "events", "callbacks", "idempotency_keys", "feed", "unplaced", "deliveries",
    "dead_letters", "grants", "uploads", "line", "inline_outputs",
)  # fmt: skip
_TIMES = (
    "UPDATE jobs SET created_at = created_at - $2::interval, completed_at = completed_at - $2::interval,"
    " submitted_at = submitted_at - $2::interval, deadline_at = deadline_at - $2::interval WHERE id = $1",
    "UPDATE job_inputs SET purge_at = purge_at - $2::interval WHERE job_id = $1",
    "UPDATE events SET time = time - $2::interval WHERE job_id = $1",
    "UPDATE callbacks SET received_at = received_at - $2::interval WHERE job_id = $1",
    "UPDATE deliveries SET created_at = created_at - $2::interval, ended_at = ended_at - $2::interval WHERE job_id = $1",
    "UPDATE idempotency_keys SET created_at = created_at - $2::interval WHERE job_id = $1",
)


def id_of_age(seconds: float) -> UUID:
    """Return an id that was made so many seconds ago."""
    return UUID(int=first_id(datetime.now(UTC) - timedelta(seconds=seconds)).int | new_uuid().int & (2**80 - 1))


async def age_job(connection: Any, job_id: UUID, seconds: float) -> UUID:
    """Let a job, and everything about it, have been so many seconds earlier; returns the id that it would have had."""
    aged = id_of_age(seconds)
    async with connection.transaction():
        # Foreign keys know nothing of ids that change.
        await connection.execute("SET LOCAL session_replication_role = replica")
        for statement in _TIMES:
            await connection.execute(statement, job_id, timedelta(seconds=seconds))
        for row in await connection.fetch("SELECT id FROM events WHERE job_id = $1", job_id):
            await _rename_event(connection, row["id"], id_of_age(seconds))
        for row in await connection.fetch("SELECT id FROM deliveries WHERE job_id = $1", job_id):
            fresh = id_of_age(seconds)
            await connection.execute("UPDATE deliveries SET id = $2 WHERE id = $1", row["id"], fresh)
            await connection.execute(
                "UPDATE delivery_attempts SET delivery_id = $2 WHERE delivery_id = $1", row["id"], fresh
            )
        for table in _JOB_IDS:
            await connection.execute(f"UPDATE {table} SET job_id = $2 WHERE job_id = $1", job_id, aged)
        await connection.execute("UPDATE jobs SET copy_of = $2 WHERE copy_of = $1", job_id, aged)
        await connection.execute("UPDATE jobs SET id = $2 WHERE id = $1", job_id, aged)
    return aged


async def _rename_event(connection: Any, event_id: UUID, fresh: UUID) -> None:
    await connection.execute("UPDATE events SET id = $2 WHERE id = $1", event_id, fresh)
    for table in ("feed", "unplaced", "deliveries"):
        await connection.execute(f"UPDATE {table} SET event_id = $2 WHERE event_id = $1", event_id, fresh)
