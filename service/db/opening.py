"""Getting at the database that the settings name: the operator's own, or the embedded one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from config.settings import Settings
from service.db.embedded import EmbeddedServer
from service.db.migrate import migrate, pending


class MigrationsPendingError(Exception):
    """The operator's database lacks migrations; `genrelay migrate` applies them."""


@asynccontextmanager
async def database(settings: Settings) -> AsyncIterator[str]:
    """Lend the DSN of the operator's database, or of the embedded one, which runs as long as the block."""
    if settings.database_url is not None:
        yield settings.database_url.get_secret_value()
        return
    server = EmbeddedServer(settings.data_dir)
    try:
        yield server.start()
    finally:
        server.stop()


async def check_schema(settings: Settings, dsn: str) -> None:
    """Migrate an embedded database; raises MigrationsPendingError when the operator's own lacks any."""
    if settings.database_url is None:
        await migrate(dsn, settings.public_url)
        return
    missing = await pending(dsn)
    if missing:
        raise MigrationsPendingError(
            f"the database lacks {len(missing)} migrations ({', '.join(missing)}); run `genrelay migrate` first"
        )
