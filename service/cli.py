"""The `genrelay` command."""

from __future__ import annotations

import asyncio
import sys
from enum import StrEnum
from typing import Annotated

import typer

from config.logging import set_up_logging
from config.settings import Settings, SettingsError, load_settings

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


class RoleName(StrEnum):
    """What a process does."""

    ALL = "all"
    API = "api"
    WORKER = "worker"


def _settings() -> Settings:
    try:
        settings = load_settings()
    except SettingsError as error:
        print(f"genrelay: the settings can't be used:\n{error}", file=sys.stderr)
        raise typer.Exit(2) from None
    set_up_logging(settings.log_level, settings.log_format)
    return settings


@app.command()
def serve(role: Annotated[RoleName, typer.Option(help="What this process does.")] = RoleName.ALL) -> None:
    """Run the service."""
    from service.app import MigrationsPendingError
    from service.serving import serve as run

    try:
        run(_settings(), role.value)
    except MigrationsPendingError as error:
        print(f"genrelay: {error}", file=sys.stderr)
        raise typer.Exit(3) from None


@app.command()
def migrate() -> None:
    """Bring the database to the newest schema."""
    from service.app import database
    from service.db.migrate import migrate as apply

    async def run(settings: Settings) -> None:
        async with database(settings) as dsn:
            await apply(dsn)

    asyncio.run(run(_settings()))


def main() -> None:
    """Run the command line."""
    app()
