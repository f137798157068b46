"""May the account have another job? Counted in the transaction that makes it, over all processes.

Nothing is asked of the database unless a limit is set. Of several who ask at once one waits for the other's commit, so that
they can't both have the last place; whoever is refused rolls back, and what it took is there again.
"""

from __future__ import annotations

from uuid import UUID

from service.db.pool import Connection
from service.db.sql import queries
from service.limits import Limits, TooManyError

# When a place becomes free, nobody can tell: it is worth another try by then.
_OPEN_JOBS_SECONDS = 5.0


async def admit(connection: Connection, account_id: UUID, limits: Limits | None) -> None:
    """Count a job that this transaction makes, or opens again; raises TooManyError, and the transaction must not commit then.

    A minute's worth of jobs may come at once (one, if that is less), and comes back evenly.
    """
    if limits is None:
        return
    if limits.jobs_per_minute is not None:
        await _take_from_rate(connection, account_id, limits.jobs_per_minute)
    if limits.open_jobs is not None:
        await _take_open_place(connection, account_id, limits.open_jobs)


async def _take_from_rate(connection: Connection, account_id: UUID, per_minute: float) -> None:
    rate, burst = per_minute / 60, max(1.0, per_minute)
    left: float = await queries().take_job_token(connection, account_id=account_id, rate=rate, burst=burst)
    if left < -1e-9:
        detail = f"the account may submit {per_minute:g} jobs a minute"
        raise TooManyError("jobs_per_minute", "too_many_jobs", detail, -left / rate)


async def _take_open_place(connection: Connection, account_id: UUID, most: int) -> None:
    # Two statements: what the one before us has committed is seen by one that begins after we have the lock.
    await queries().lock_account(connection, account_id=account_id)
    if await queries().count_open_jobs(connection, account_id=account_id, most=most) >= most:
        detail = f"the account may have {most} open jobs, and has"
        raise TooManyError("open_jobs", "too_many_open_jobs", detail, _OPEN_JOBS_SECONDS)
