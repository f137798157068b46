"""Getting at the database: once, for all checks that want it."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg

from config.settings import Settings
from service.db.embedded import EmbeddedServer, EmbeddedUnavailableError
from service.db.migrate import names
from service.doctor.findings import NotPossibleError
from service.doctor.ground import Ground, Reached, connect

AWAY = "the database is away"
_START_SECONDS = 15.0


class UnreachableError(NotPossibleError):
    """The database can't be used. found and hint: what its own check says of it, while all others are skipped."""

    def __init__(self, found: str, hint: str, said: str = AWAY) -> None:
        super().__init__(said)
        self.found, self.hint = found, hint


class NotMadeError(NotPossibleError):
    """There is no database yet, because the service has never run here."""


@asynccontextmanager
async def reach_database(ground: Ground) -> AsyncIterator[asyncio.Future[Reached]]:
    """Lend the database, as a future that becomes it, and that raises NotPossibleError when it can't be had."""
    server: list[EmbeddedServer] = []
    reaching = asyncio.ensure_future(_reach(ground, server))
    try:
        yield reaching
    finally:
        reaching.cancel()
        await asyncio.gather(reaching, return_exceptions=True)
        for each in server:
            await asyncio.to_thread(each.stop)


async def _reach(ground: Ground, server: list[EmbeddedServer]) -> Reached:
    settings = ground.given()
    own = settings.database_url
    dsn = await _start_embedded(settings, server) if own is None else own.get_secret_value()
    try:
        connection = await connect(dsn)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
        raise explain(error) from None
    try:
        return Reached(dsn, await _missing(connection))
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise explain(error) from None
    finally:
        connection.terminate()


async def _start_embedded(settings: Settings, server: list[EmbeddedServer]) -> str:
    folder = Path(settings.data_dir).expanduser()  # noqa: ASYNC240 - local, and the program has nothing else to do yet
    if not (folder / "postgres" / "PG_VERSION").exists():
        raise NotMadeError(f"{folder} holds no database yet; `genrelay serve` makes it")
    embedded = EmbeddedServer(settings.data_dir)
    try:
        async with asyncio.timeout(_START_SECONDS):
            dsn = await asyncio.to_thread(embedded.start)
    except EmbeddedUnavailableError as error:
        raise UnreachableError(str(error), "Set GENRELAY_DATABASE_URL, or install genrelay[embedded].") from None
    except (OSError, subprocess.SubprocessError, TimeoutError) as error:
        hint = f"Look at {folder}/postgres/log, at the rights of the folder and at the room on its disk."
        raise UnreachableError(f"the embedded PostgreSQL did not start ({type(error).__name__})", hint) from None
    server.append(embedded)
    return dsn


async def _missing(connection: asyncpg.Connection[asyncpg.Record]) -> list[str]:
    if await connection.fetchval("SELECT to_regclass('public._pogo_migration')") is None:
        return names()
    rows = await connection.fetch("SELECT migration_id FROM public._pogo_migration")
    applied = {row["migration_id"] for row in rows}
    return [name for name in names() if name not in applied]


_URL = "Correct GENRELAY_DATABASE_URL: postgresql://user:password@host:5432/database."


def explain(error: BaseException) -> UnreachableError:
    """Return what it means that the database could not be connected to; no secret is in it."""
    match error:
        case asyncpg.InvalidPasswordError() | asyncpg.InvalidAuthorizationSpecificationError():
            return UnreachableError(
                "PostgreSQL refuses the user or its password",
                "Correct user and password in GENRELAY_DATABASE_URL (percent-encoded), or look at pg_hba.conf.",
            )
        case asyncpg.InvalidCatalogNameError():
            return UnreachableError("there is no such database on the server", f"Create it (CREATE DATABASE …). {_URL}")
        case asyncpg.TooManyConnectionsError():
            return UnreachableError(
                "PostgreSQL has no free connection",
                "Raise max_connections, or run fewer processes: 19 connections per API process, 21 per worker.",
            )
        case asyncpg.CannotConnectNowError():
            return UnreachableError("PostgreSQL is starting or stopping", "Wait a moment; else look at its log.")
    return _explain_the_way(error)


def _explain_the_way(error: BaseException) -> UnreachableError:
    match error:
        case socket.gaierror():
            return UnreachableError("the database's host name can't be resolved", f"Look at DNS. {_URL}")
        case ConnectionRefusedError():
            return UnreachableError(
                "the database's host refuses connections", f"Is PostgreSQL running, and on this port? {_URL}"
            )
        case TimeoutError():
            hint = "A firewall, a security group or a network policy that drops packets looks like this; or it hangs."
            return UnreachableError("the database did not answer in time", hint)
        case ssl.SSLError():
            hint = "Look at sslmode and sslrootcert in GENRELAY_DATABASE_URL, and at the server's certificate."
            return UnreachableError(f"TLS to the database failed ({error.reason or 'no reason'})", hint)
        case ValueError():
            return UnreachableError("GENRELAY_DATABASE_URL is not the URL of a PostgreSQL", _URL)
        case asyncpg.PostgresError():
            return UnreachableError(f"PostgreSQL refuses: {type(error).__name__}", "Look at PostgreSQL's log.")
    hint = "Is it a PostgreSQL that listens there? Look at its log, and at what stands between."
    return UnreachableError(f"the database can't be connected to ({type(error).__name__})", hint)
