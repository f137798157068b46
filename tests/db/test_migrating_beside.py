"""A migration beside a service that runs, and beside transactions that stay open: nobody waits long for it."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest
from pogo_core.util.migrate import apply
from structlog.testing import capture_logs

from service.db import migrate as migrations
from service.db.embedded import EmbeddedServer
from service.db.migrate import FOLDER, LOCK_SECONDS, MigrationBlockedError, migrate, pending
from service.db.pool import Connection
from tests.cli.command import clean_environment, run, start
from tests.database import dsn_of
from tests.world import SECRET_KEY, until

_ADD = """-- A column.
-- depends: {last}

-- migrate: apply
ALTER TABLE accounts ADD COLUMN first_of_test int;
ALTER TABLE jobs ADD COLUMN second_of_test int;

-- migrate: rollback
ALTER TABLE jobs DROP COLUMN second_of_test;
"""
_THIRD = """-- Another column.
-- depends: 9999_of_test

-- migrate: apply
ALTER TABLE events ADD COLUMN third_of_test int;

-- migrate: rollback
ALTER TABLE events DROP COLUMN third_of_test;
"""
_INDEX = """-- An index.
-- depends: {last}
-- transaction: false

-- migrate: apply
CREATE INDEX CONCURRENTLY IF NOT EXISTS accounts_of_test ON accounts (name);

-- migrate: rollback
DROP INDEX accounts_of_test;
"""


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with all migrations, to which a test adds one."""
    for file in FOLDER.iterdir():
        if file.is_file():
            (tmp_path / file.name).write_bytes(file.read_bytes())
    monkeypatch.setattr(migrations, "FOLDER", tmp_path)
    return tmp_path


@pytest.fixture
async def before(postgres: EmbeddedServer, tmp_path: Path) -> AsyncIterator[str]:
    """The DSN of a database with the schema of the version before."""
    for file in FOLDER.iterdir():
        if file.is_file() and file.name < "0008":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    name = f"before_{uuid4().hex}"
    server = await asyncpg.connect(postgres.dsn)
    await server.execute(f"CREATE DATABASE {name}")
    connection = await asyncpg.connect(dsn_of(postgres.dsn, name))
    await apply(connection, tmp_path, schema_name="public", logger=logging.getLogger("test"))
    await connection.close()
    yield dsn_of(postgres.dsn, name)
    await server.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await server.close()


def add(folder: Path, text: str) -> None:
    last = max(path.stem for path in folder.iterdir())
    (folder / "9999_of_test.sql").write_text(text.format(last=last), encoding="utf-8")


async def is_blocked(db: Connection) -> bool:
    await db.execute("SELECT pg_stat_clear_snapshot()")  # else a transaction sees what it saw first
    found = await db.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND application_name = 'genrelay migrate' AND wait_event_type = 'Lock'"
    )
    return bool(found)


async def columns(db: Connection) -> set[str]:
    rows = await db.fetch("SELECT column_name FROM information_schema.columns WHERE column_name LIKE '%_of_test'")
    return {row["column_name"] for row in rows}


async def test_a_long_transaction_delays_the_migration_and_hardly_anybody_else(
    database_url: str, db: Connection, folder: Path
) -> None:
    add(folder, _ADD)
    long = await asyncpg.connect(database_url, server_settings={"application_name": "a report"})
    reading = long.transaction()
    await reading.start()
    await long.fetch("SELECT count(*) FROM jobs")
    with capture_logs() as logs:
        migrating = asyncio.create_task(migrate(database_url))
        longest = 0.0
        async with asyncio.timeout(30):
            while len([log for log in logs if log["event"] == "migration.blocked"]) < 2:
                began = time.monotonic()
                await db.execute("INSERT INTO jobs SELECT * FROM jobs WHERE false")
                longest = max(longest, time.monotonic() - began)
                await asyncio.sleep(0.01)
        assert await columns(db) == set(), "nothing of a migration that has to wait is there"
        await reading.rollback()
        await migrating
    assert LOCK_SECONDS / 2 < longest < LOCK_SECONDS + 2, "it waited behind the migration, and not for the report"
    [blocker] = next(log for log in logs if log["event"] == "migration.blocked")["by"]
    assert blocker["application_name"] == "a report"
    assert blocker["state"] == "idle in transaction"
    assert blocker["pid"] == long.get_server_pid()
    assert blocker["seconds"] >= LOCK_SECONDS
    await long.close()
    assert await columns(db) == {"first_of_test", "second_of_test"}
    assert await pending(database_url) == []


async def test_a_migration_that_never_gets_its_locks_gives_up_and_says_who_is_in_its_way(
    database_url: str, db: Connection, folder: Path
) -> None:
    add(folder, _ADD)
    async with db.transaction():
        await db.fetch("SELECT count(*) FROM jobs")
        with pytest.raises(MigrationBlockedError, match=f"pid {db.get_server_pid()} .*, idle in transaction, in a tr"):
            await migrate(database_url, patience=0)
    assert await columns(db) == set()
    await asyncio.gather(migrate(database_url), migrate(database_url))
    assert await columns(db) == {"first_of_test", "second_of_test"}


async def test_a_migration_that_is_killed_in_the_middle_is_done_by_the_next_one(before: str) -> None:
    environment = clean_environment(GENRELAY_DATABASE_URL=before, GENRELAY_SECRET_KEY=SECRET_KEY)
    db = await asyncpg.connect(before)
    missing = await pending(before)
    async with db.transaction():
        await db.fetch("SELECT count(*) FROM accounts")  # it gets `jobs`, and waits for this one
        killed = await start("migrate", environment=environment)
        await until(lambda: is_blocked(db))
        killed.send_signal(signal.SIGKILL)
        await killed.communicate()
    assert await pending(before) == missing
    await migrate(before)
    assert await pending(before) == []
    assert await db.fetchval("SELECT count(limits) FROM accounts") == 0
    await db.close()


@pytest.mark.parametrize("hangs", [False, True])
async def test_a_migration_that_is_told_to_stop_leaves_nothing_behind_also_if_the_database_hangs(
    before: str, hangs: bool
) -> None:
    environment = clean_environment(GENRELAY_DATABASE_URL=before, GENRELAY_SECRET_KEY=SECRET_KEY)
    db = await asyncpg.connect(before)
    missing = await pending(before)
    async with db.transaction():
        await db.fetch("SELECT count(*) FROM accounts")
        told = await start("migrate", environment=environment)
        await until(lambda: is_blocked(db))
        its = "SELECT pid FROM pg_stat_activity WHERE application_name = 'genrelay migrate'"
        backend = await db.fetchval(its + " AND datname = current_database()")
        if hangs:
            os.kill(backend, signal.SIGSTOP)
        try:
            told.send_signal(signal.SIGTERM)
            async with asyncio.timeout(15):
                out, err = await told.communicate()
        finally:
            if hangs:
                os.kill(backend, signal.SIGCONT)
    assert (told.returncode, out) == (143, b"")
    assert b"Traceback" not in err
    assert await pending(before) == missing
    await migrate(before)
    await db.close()


async def test_the_patience_is_for_all_migrations_together(database_url: str, db: Connection, folder: Path) -> None:
    """The first is let through when most of the time is over."""
    patience = 6.0
    add(folder, _ADD)
    (folder / "99999_of_test.sql").write_text(_THIRD, encoding="utf-8")
    first, second = [await asyncpg.connect(database_url) for _ in range(2)]
    await second.execute("BEGIN; LOCK TABLE events IN ACCESS SHARE MODE")
    await first.execute("BEGIN; LOCK TABLE jobs IN ACCESS SHARE MODE")
    began = time.monotonic()
    migrating = asyncio.create_task(migrate(database_url, patience=patience))
    asyncio.get_running_loop().call_later(patience / 3 * 2, asyncio.create_task, first.execute("ROLLBACK"))
    with pytest.raises(MigrationBlockedError, match=f"pid {second.get_server_pid()} "):
        await migrating
    assert await columns(db) == {"first_of_test", "second_of_test"}
    assert time.monotonic() - began < patience + LOCK_SECONDS + 1
    await first.close()
    await second.close()


async def test_an_index_gives_up_as_well_and_says_who_is_in_its_way(
    database_url: str, db: Connection, folder: Path
) -> None:
    add(folder, _INDEX)
    async with db.transaction():
        await db.execute("INSERT INTO accounts (id, name) VALUES (gen_random_uuid(), 'somebody')")
        with pytest.raises(MigrationBlockedError, match=f"pid {db.get_server_pid()} "):
            await migrate(database_url, patience=0)
    await migrate(database_url)
    assert await pending(database_url) == []


async def test_who_waits_for_another_process_gives_up_as_well(before: str) -> None:
    environment = clean_environment(GENRELAY_DATABASE_URL=before, GENRELAY_SECRET_KEY=SECRET_KEY)
    db = await asyncpg.connect(before)
    await db.execute("SELECT pg_advisory_lock($1)", migrations._LOCK)
    ran = await run("migrate", "--patience", "1", environment=environment)
    assert ran.status == 1
    assert f"another process is migrating this database: pid {db.get_server_pid()}" in ran.err
    await db.close()


async def test_an_index_that_was_left_half_made_is_made_anew(database_url: str, db: Connection, folder: Path) -> None:
    add(folder, _INDEX)
    other = await asyncpg.connect(database_url)
    writing = other.transaction()
    await writing.start()
    await other.execute("INSERT INTO accounts (id, name) VALUES (gen_random_uuid(), 'somebody')")
    migrating = asyncio.create_task(migrate(database_url))
    await until(lambda: is_blocked(db))
    await db.execute("INSERT INTO accounts (id, name) VALUES (gen_random_uuid(), 'else')")  # nobody waits for it
    await db.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'genrelay migrate'"
    )
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, ConnectionError)):
        await migrating
    await writing.rollback()
    await other.close()
    valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'accounts_of_test'::regclass"
    assert await db.fetchval(valid) is False
    await migrate(database_url)
    assert await db.fetchval(valid) is True
    assert await pending(database_url) == []
