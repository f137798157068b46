"""Migrations, applied by one process at a time, while the service goes on.

An ALTER TABLE that waits for a lock makes everybody else wait behind it. So each migration gives up its place in the
queue after `LOCK_SECONDS`, is rolled back, and is tried again once the others have had their turn.
"""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path

import asyncpg
import structlog
from pogo_core.migration import Migration, topological_sort
from pogo_core.util import sql

FOLDER = Path(__file__).parent / "migrations"
LOCK_SECONDS = 1.0
PATIENCE_SECONDS = 200.0
_LOCK = 0x67656E72656C6179  # "genrelay"
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 10.0
_HINDERED = (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError)

# Who has held a lock on a table of ours for as long as a migration waited.
_BLOCKERS = """
SELECT activity.pid, activity.application_name, activity.state,
       extract(epoch FROM now() - activity.xact_start)::float8 AS seconds
FROM pg_stat_activity AS activity
WHERE activity.datname = current_database() AND activity.pid <> pg_backend_pid()
  AND activity.xact_start < now() - make_interval(secs => $1)
  AND EXISTS (SELECT FROM pg_locks AS held JOIN pg_class AS relation ON relation.oid = held.relation
              WHERE held.pid = activity.pid AND held.granted AND relation.relnamespace = 'public'::regnamespace)
ORDER BY activity.xact_start
LIMIT 5
"""
_MIGRATING = """
SELECT string_agg('pid ' || pid, ', ') FROM pg_locks
WHERE locktype = 'advisory' AND granted AND (classid::int8 << 32 | objid::int8) = $1
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
# What CREATE INDEX CONCURRENTLY leaves behind when it is ended in the middle; IF NOT EXISTS would take it for done.
_INVALID = """
SELECT class.relname FROM pg_index JOIN pg_class AS class ON class.oid = indexrelid
WHERE NOT indisvalid AND class.relnamespace = 'public'::regnamespace
"""

log = structlog.get_logger()


class MigrationBlockedError(Exception):
    """A migration did not get its locks in all the time it was given; what it has not finished, the next try does."""


async def pending(dsn: str) -> list[str]:
    """Return the names of the migrations that this database still lacks."""
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        if await connection.fetchval("SELECT to_regclass('public._pogo_migration')") is None:
            return names()
        rows = await connection.fetch("SELECT migration_id FROM public._pogo_migration")
    finally:
        await connection.close()
    applied = {row["migration_id"] for row in rows}
    return [name for name in names() if name not in applied]


def names() -> list[str]:
    """Return the names of all migrations, in order."""
    return sorted(path.stem for path in FOLDER.iterdir() if path.suffix in {".sql", ".py"})


async def migrate(dsn: str, source: str | None = None, *, patience: float = PATIENCE_SECONDS) -> None:
    """Bring the database to the newest schema; waits while another process does it.

    source: what events that are there already name as theirs, as in open_pool. patience: seconds, for all
    migrations together, for which others may be in the way; then MigrationBlockedError, which says who.
    """
    until = time.monotonic() + patience
    settings = {"application_name": "genrelay migrate"} | ({"genrelay.source": source} if source else {})
    connection = await asyncpg.connect(dsn, timeout=10, server_settings=settings)
    try:
        # Trying in a loop: waiting inside pg_advisory_lock would hold a snapshot, and that deadlocks with
        # CREATE INDEX CONCURRENTLY of the process that has the lock.
        while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK):
            if time.monotonic() > until:
                by = await connection.fetchval(_MIGRATING, _LOCK)
                raise MigrationBlockedError(f"another process is migrating this database: {by or 'it has just ended'}")
            await asyncio.sleep(0.2)
        for migration in await _missing(connection):
            logging.getLogger("genrelay.migrate").warning("Applying %s", migration.id)
            if migration.use_transaction:
                await _apply(connection, migration, until)
            else:
                await _apply_piecemeal(connection, migration, until)
    finally:
        await connection.close()


async def _missing(connection: asyncpg.Connection[asyncpg.Record]) -> list[Migration]:
    await sql.ensure_pogo_sync(connection)
    found = await sql.read_migrations(FOLDER, connection, schema_name="public")
    return [migration for migration in topological_sort([each.load() for each in found]) if not migration.applied]


async def _apply(connection: asyncpg.Connection[asyncpg.Record], migration: Migration, until: float) -> None:
    """Apply a migration in one transaction, as often as it takes to get its locks."""
    pause = _FIRST_PAUSE
    while True:
        try:
            async with connection.transaction():
                await connection.execute(f"SET LOCAL lock_timeout = '{round(LOCK_SECONDS * 1000)}ms'")
                await _run(connection, migration)
        except _HINDERED:
            in_the_way = await _see_blockers(connection, migration)
            if time.monotonic() + pause > until:
                raise _blocked(migration, in_the_way) from None
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        else:
            return


async def _see_blockers(connection: asyncpg.Connection[asyncpg.Record], migration: Migration) -> str:
    rows = [dict(row) for row in await connection.fetch(_BLOCKERS, LOCK_SECONDS)]
    log.warning("migration.blocked", migration=migration.id, by=rows)
    return "; ".join(
        f"pid {row['pid']} ({row['application_name'] or 'without a name'}), {row['state']},"
        f" in a transaction for {row['seconds']:.0f} s"
        for row in rows
    )


def _blocked(migration: Migration, in_the_way: str) -> MigrationBlockedError:
    return MigrationBlockedError(
        f"migration {migration.id} could not lock its tables; in its way: {in_the_way or 'nobody any more'}"
    )


async def _apply_piecemeal(connection: asyncpg.Connection[asyncpg.Record], migration: Migration, until: float) -> None:
    """Apply a migration statement by statement, as CREATE INDEX CONCURRENTLY needs it; it waits for others, nobody for it."""
    text = migration.path.read_text(encoding="utf-8")
    for row in await connection.fetch(_INVALID):
        if row["relname"] in text:
            log.warning("migration.invalid_index_dropped", migration=migration.id, index=row["relname"])
            await connection.execute(f'DROP INDEX CONCURRENTLY public."{row["relname"]}"')
    seconds = max(until - time.monotonic(), LOCK_SECONDS)
    await connection.execute(f"SET lock_timeout = '{round(seconds * 1000)}ms'")
    try:
        await _run(connection, migration)
    except _HINDERED:
        raise _blocked(migration, await _see_blockers(connection, migration)) from None
    await connection.execute("RESET lock_timeout")


async def _run(connection: asyncpg.Connection[asyncpg.Record], migration: Migration) -> None:
    await migration.apply(connection)
    await sql.migration_applied(connection, migration.id, migration.hash, schema_name="public")
