"""One real PostgreSQL per test run, and a fresh database per test, copied from a migrated template.

It is the embedded one, or another version's: `GENRELAY_TEST_POSTGRES` names the folder of its programs, such as
`/usr/lib/postgresql/15/bin`.
"""

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
from tests.db.servers import running

TEMPLATE = "genrelay_template"


def dsn_of(server_dsn: str, database: str) -> str:
    """Return the DSN of another database on the same server."""
    return server_dsn.replace("/postgres?", f"/{database}?")


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedServer]:
    """A running server of this test run's own, with a migrated template in it."""
    with tempfile.TemporaryDirectory(
        prefix="genrelay-test-", dir=folder_in_memory(), ignore_cleanup_errors=True
    ) as folder:
        programs = os.environ.get("GENRELAY_TEST_POSTGRES")
        with _embedded(Path(folder)) if programs is None else _another(Path(programs), Path(folder)) as server:
            asyncio.run(_make_template(server.dsn))
            yield server


@contextlib.contextmanager
def _embedded(folder: Path) -> Iterator[EmbeddedServer]:
    server = EmbeddedServer(folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@contextlib.contextmanager
def _another(programs: Path, folder: Path) -> Iterator[EmbeddedServer]:
    folder.chmod(0o755)
    with running(programs, folder) as dsn:
        server = EmbeddedServer(folder)
        server.dsn = dsn
        yield server


def folder_in_memory() -> str | None:
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
async def fresh_database(postgres: EmbeddedServer, template: str = TEMPLATE) -> AsyncIterator[str]:
    """Lend the DSN of a database that nobody else uses; a migrated one, unless another template is given."""
    name = f"test_{uuid4().hex}"
    connection = await asyncpg.connect(postgres.dsn)
    try:
        # PostgreSQL 14 knows no other strategy.
        strategy = " STRATEGY FILE_COPY" if connection.get_server_version() >= (15,) else ""
        await connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}{strategy}")
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


@pytest.fixture
async def empty_database(postgres: EmbeddedServer) -> AsyncIterator[str]:
    """The DSN of a database in which there is nothing yet."""
    async with fresh_database(postgres, "template0") as url:
        yield url
