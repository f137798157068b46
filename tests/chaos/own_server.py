"""A PostgreSQL that a test may treat badly."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from service.db.embedded import EmbeddedServer
from service.db.migrate import migrate


@pytest.fixture
async def own_server() -> AsyncIterator[tuple[EmbeddedServer, Path]]:
    """A PostgreSQL that this test may treat badly, and its data folder."""
    with tempfile.TemporaryDirectory(prefix="genrelay-test-", ignore_cleanup_errors=True) as folder:
        server = EmbeddedServer(Path(folder))
        await asyncio.to_thread(server.start)
        try:
            await migrate(server.dsn)
            yield server, Path(folder) / "postgres"
        finally:
            await asyncio.to_thread(server.stop)
