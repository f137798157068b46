"""What these tests stand on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import uuid4

import asyncpg
import pytest

from service.db.embedded import EmbeddedServer
from tests.database import dsn_of


@pytest.fixture
async def empty_database(postgres: EmbeddedServer) -> AsyncIterator[str]:
    """The DSN of a database in which there is nothing yet."""
    name = f"empty_{uuid4().hex}"
    connection = await asyncpg.connect(postgres.dsn)
    try:
        await connection.execute(f"CREATE DATABASE {name}")
        yield dsn_of(postgres.dsn, name)
    finally:
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await connection.close()
