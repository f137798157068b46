"""One real PostgreSQL per test run, and a fresh database per test, copied from a migrated template."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from service.db.embedded import EmbeddedServer
from service.db.migrate import migrate

TEMPLATE = "genrelay_template"


def dsn_of(server_dsn: str, database: str) -> str:
    """Return the DSN of another database on the same server."""
    return server_dsn.replace("/postgres?", f"/{database}?")


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedServer]:
    """A running server of this test run's own, with a migrated template in it."""
    with tempfile.TemporaryDirectory(prefix="genrelay-test-", dir=_in_memory(), ignore_cleanup_errors=True) as folder:
        server = EmbeddedServer(Path(folder))
        server.start()
        try:
            asyncio.run(_make_template(server.dsn))
            yield server
        finally:
            server.stop()


def _in_memory() -> str | None:
    """Return a folder in memory, where this machine has one: a database is 300 files, made and thrown away per test."""
    shared = Path("/dev/shm")
    usable = shared.is_dir() and os.access(shared, os.W_OK) and shutil.disk_usage(shared).free > 2**30
    return str(shared) if usable else None


async def _make_template(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    # Nobody pulls the plug of this machine during a test; killed processes lose nothing by it.
    await connection.execute("ALTER SYSTEM SET fsync = off")
    await connection.execute("ALTER SYSTEM SET full_page_writes = off")
    await connection.execute("SELECT pg_reload_conf()")
    await connection.execute(f"CREATE DATABASE {TEMPLATE}")
    await connection.close()
    await migrate(dsn_of(dsn, TEMPLATE))


@contextlib.asynccontextmanager
async def fresh_database(postgres: EmbeddedServer) -> AsyncIterator[str]:
    """Lend the DSN of a migrated database that nobody else uses."""
    name = f"test_{uuid4().hex}"
    connection = await asyncpg.connect(postgres.dsn)
    try:
        await connection.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} STRATEGY FILE_COPY")
        yield dsn_of(postgres.dsn, name)
    finally:
        if connection.is_closed():  # the test restarted the server
            connection = await asyncpg.connect(postgres.dsn)
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await connection.close()


@pytest.fixture
async def database_url(postgres: EmbeddedServer) -> AsyncIterator[str]:
    """The DSN of a migrated database that only this test uses."""
    async with fresh_database(postgres) as url:
        yield url
