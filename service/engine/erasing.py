"""Erasing an account: its door is closed at once, and what it had is deleted in batches, the account's row last.

Everything here can be begun again wherever it was broken off. Objects in customers' buckets are theirs and stay.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg
import structlog

from service import metrics
from service.db.pool import Connection, Pool, transaction
from service.db.sql import queries
from service.engine.context import Context
from service.engine.ledger import lock, record
from service.jobs.lifecycle import Happening

log = structlog.get_logger()

# Accounts of one round, those that only wait not counted, and how many are looked at; batches of each kind in one round.
_ACCOUNTS, _LOOKED_AT, _BATCHES = 4, 100, 50
_CLOSED, _CANCELED, _JOBS, _ROWS = 500, 100, 100, 1000
_START = UUID(int=0)
_KIND = "erasure"  # under which it is kept how far the rounds have come
_PATIENCE, _SAID_SECONDS = 300.0, 3600.0  # before it is said that an erasure waits, and until it is said again

# What an account has besides its jobs and what belongs to those; what names something else goes first.
TABLES = (
    "deliveries", "unplaced", "feed", "account_events", "destination_events", "idempotency_keys", "line", "grants",
    "subscriptions", "destinations", "signing_keys", "account_rates", "api_keys",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Erased:
    """What `erase` did: how many jobs were still open, and canceled."""

    account_id: UUID
    canceled: int


async def erase(pool: Pool, name: str) -> Erased | None:
    """Close an account for good and cancel what is open; housekeeping deletes the rest. None: there is no such account.

    Twice is once. Its keys open nothing from the first commit on, a request that was let in before may take two seconds
    more; after the last commit there is no secret of the account any more.
    """
    async with transaction(pool) as connection:
        row = await queries().begin_erasing(connection, name=name)
        if row is None:
            return None
        await queries().revoke_keys_of(connection, account_id=row["id"])
        await queries().forget_signing_keys(connection, account_id=row["id"])
        await queries().tell_of_erased(connection, account_id=row["id"])
    canceled = await _close(pool, row["id"])
    log.info("account.erasing", account=name, canceled=canceled)
    return Erased(row["id"], canceled)


async def _close(pool: Pool, account_id: UUID) -> int:
    """Delete what is secret, stop what is delivered, cancel what is open; returns how many jobs were."""
    await _repeat(queries().close_subscriptions, pool, account_id)
    # Before the destinations, so that none of them ends because its bucket can't be written to any more.
    canceled = await _cancel_open(pool, account_id)
    await _repeat(queries().close_destinations, pool, account_id)
    return canceled


async def _repeat(close: Any, pool: Pool, account_id: UUID) -> None:
    while await close(pool, account_id=account_id, limit=_CLOSED) == _CLOSED:
        pass


async def _cancel_open(pool: Pool, account_id: UUID) -> int:
    canceled = 0
    while True:
        rows = queries().open_jobs_of(pool, account_id=account_id, limit=_CANCELED)
        jobs = [row["id"] async for row in rows]
        for job_id in jobs:
            canceled += await _cancel(pool, job_id)
        if len(jobs) < _CANCELED:
            return canceled


async def _cancel(pool: Pool, job_id: UUID) -> bool:
    async with transaction(pool) as connection:
        locked = await lock(connection, job_id)
        return locked is not None and await record(connection, locked, Happening.CANCELED) is not None


async def erase_accounts(context: Context) -> None:
    """Do a round for accounts that are being erased, behind those of the last one.

    One that can only wait takes nobody's place; what it waits for is said once an hour.
    """
    pool, places = context.pool, _ACCOUNTS
    accounts = [row async for row in queries().erased_accounts(pool, kind=_KIND, limit=_LOOKED_AT)]
    for account in accounts:
        # Before it: one that fails must not come first again.
        await queries().note_progress(pool, kind=_KIND, after=account["id"], anew=False)
        if (reason := await _go_on(context, account)) is None:
            places -= 1
        else:
            _say_it_waits(context, account, reason)
        if not places:
            break
    metrics.ERASURE_AGE.set(await queries().oldest_erasure(pool))


async def _go_on(context: Context, account: Any) -> str | None:
    try:
        return await _erase_rest(context, account["id"])
    except asyncpg.ForeignKeyViolationError:
        # A request that was let in before has written something meanwhile.
        log.info("account.erased_later", account=account["name"])
        return "written_to"


def _say_it_waits(context: Context, account: Any, reason: str) -> None:
    said, now = context.erasures_said, time.monotonic()
    # A few rounds are nothing: what is in the spool takes them anyway.
    if account["seconds"] < _PATIENCE or now < said.get(account["id"], 0.0):
        return
    said[account["id"]] = now + _SAID_SECONDS
    log.warning("account.erasure_waits", account=account["name"], reason=reason, seconds=round(account["seconds"]))


async def _erase_rest(context: Context, account_id: UUID) -> str | None:
    """Delete the next of what an account has; returns what it waits for, None if there was something to do."""
    async with transaction(context.pool) as connection:
        await queries().revoke_keys_of(connection, account_id=account_id)
        # Again: for a process that did not hear it, or was just asking whose key it is.
        await queries().tell_of_erased(connection, account_id=account_id)
    await _close(context.pool, account_id)
    deleted, kept = await _erase_jobs(context, account_id)
    if await _has_rows(context.pool, "jobs", account_id):
        return None if deleted else _reason(context, kept)
    for table in TABLES:
        if not await _erase_rows(context.pool, table, account_id):
            return None
    await queries().forget_turns(context.pool, account_id=account_id)
    told = await queries().forget_account(context.pool, account_id=account_id)
    if told == "DELETE 1":
        metrics.PURGED.labels("accounts").inc()
        log.info("account.erased")
    return None


def _reason(context: Context, kept: int) -> str:
    if not kept:
        return "jobs_under_way"
    return "no_spool" if context.spool is None else "spool"


async def _erase_jobs(context: Context, account_id: UUID) -> tuple[int, int]:
    """Delete the account's jobs; returns how many, and how many wait until the spool has nothing of them any more."""
    after, deleted, kept = _START, 0, 0
    for _ in range(_BATCHES):
        async with transaction(context.pool) as connection:
            rows = queries().lock_jobs_to_erase(connection, account_id=account_id, after=after, limit=_JOBS)
            jobs = [row["id"] async for row in rows]
            if not jobs:
                break
            after = jobs[-1]
            free = await _leave_buckets(context, connection, jobs)
            count = await queries().delete_jobs(connection, ids=free)
        metrics.PURGED.labels("jobs").inc(count)
        deleted, kept = deleted + count, kept + len(jobs) - len(free)
    return deleted, kept


async def _has_rows(pool: Pool, table: str, account_id: UUID) -> bool:
    # The name is one of ours.
    found: bool = await pool.fetchval(f"SELECT EXISTS (SELECT FROM {table} WHERE account_id = $1)", account_id)  # noqa: S608
    return found


async def _leave_buckets(context: Context, connection: Connection, jobs: list[UUID]) -> list[UUID]:
    """Have deleted what jobs have in the spool; returns those that have nothing there."""
    await queries().leave_spool(connection, job_ids=jobs, worker_id=context.worker_id)
    await queries().forget_uploads_of(connection, job_ids=jobs)
    waiting = {row["job_id"] async for row in queries().jobs_in_spool(connection, job_ids=jobs)}
    return [job_id for job_id in jobs if job_id not in waiting]


async def _erase_rows(pool: Pool, table: str, account_id: UUID) -> bool:
    """Delete an account's rows of a table; returns whether none is left."""
    # The name is one of ours; by ctid, which needs no other index than the one on the account.
    text = (
        f"DELETE FROM {table} WHERE ctid = ANY (ARRAY("  # noqa: S608
        f"SELECT ctid FROM {table} WHERE account_id = $1 LIMIT $2 FOR UPDATE SKIP LOCKED))"
    )
    for _ in range(_BATCHES):
        told = await pool.execute(text, account_id, _ROWS)
        if told == "DELETE 0":
            break
    return not await _has_rows(pool, table, account_id)
