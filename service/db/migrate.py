"""Migrations, applied by one process at a time."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import asyncpg
from pogo_core.util.migrate import apply

FOLDER = Path(__file__).parent / "migrations"
_LOCK = 0x67656E72656C6179  # "genrelay"


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


async def migrate(dsn: str, source: str | None = None) -> None:
    """Bring the database to the newest schema; waits while another process does it.

    source: what events that are there already name as theirs, as in open_pool.
    """
    connection = await asyncpg.connect(dsn, timeout=10, server_settings={"genrelay.source": source} if source else None)
    try:
        # Trying in a loop: waiting inside pg_advisory_lock would hold a snapshot, and that deadlocks with
        # CREATE INDEX CONCURRENTLY of the process that has the lock.
        while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK):
            await asyncio.sleep(0.2)
        await apply(connection, FOLDER, schema_name="public", logger=logging.getLogger("genrelay.migrate"))
    finally:
        await connection.close()
