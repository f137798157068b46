"""What the checks stand on: the settings, the database once it has been reached, and the clocks that were heard on the way."""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import asyncpg
from pydantic_core import from_json, to_json

from config.settings import Settings
from service.crypto import Keyring
from service.doctor.findings import NotPossibleError

if TYPE_CHECKING:
    Session = asyncpg.Connection[asyncpg.Record]
else:
    Session = asyncpg.Connection
Row = asyncpg.Record
SECONDS = 5.0  # for one statement, one connection, one request
NAME = "genrelay doctor"


class Reached(NamedTuple):
    """The database's address once it has answered. missing: migrations that it lacks."""

    dsn: str
    missing: list[str]


class Heard(NamedTuple):
    """What another machine's clock says. ahead: seconds before ours. unsure: as many either way."""

    who: str
    ahead: float
    unsure: float


@dataclass
class Ground:
    """One examination. settings: None when they can't be used. reaching: becomes the database, raises NotPossibleError.

    trusted: the authorities of public certificates; None: those that calls to providers trust. cgroup: where the kernel
    tells a container's limits.
    """

    settings: Settings | None
    environ: Mapping[str, str]
    keyring: Keyring | None = None
    reaching: asyncio.Future[Reached] | None = None
    write_probes: bool = False
    trusted: ssl.SSLContext | None = None
    cgroup: Path = Path("/sys/fs/cgroup")
    heard: list[Heard] = field(default_factory=list)
    clock: Callable[[], float] = time.time

    @property
    def in_kubernetes(self) -> bool:
        """Whether this runs in a pod."""
        return "KUBERNETES_SERVICE_HOST" in self.environ

    def given(self) -> Settings:
        """Return the settings; raises NotPossibleError when they can't be used."""
        if self.settings is None:
            raise NotPossibleError("the settings can't be used")
        return self.settings

    @asynccontextmanager
    async def session(self, *, migrated: bool = True) -> AsyncIterator[Session]:
        """Lend a connection of its own, which reads only; raises NotPossibleError when there is none to be had.

        migrated: the tables must be there.
        """
        assert self.reaching is not None
        reached = await asyncio.shield(self.reaching)
        if migrated and reached.missing:
            raise NotPossibleError("the database lacks migrations")
        connection = await connect(reached.dsn)
        try:
            yield connection
        finally:
            connection.terminate()

    def hear(self, who: str, date: str | None, began: float, ended: float) -> None:
        """Remember what the `Date` of an answer says. began, ended: our clock around the request."""
        try:
            told = parsedate_to_datetime(date or "")
        except (ValueError, TypeError):
            return
        if told.tzinfo is None:
            told = told.replace(tzinfo=UTC)
        # The header has whole seconds, cut off.
        middle = (began + ended) / 2
        self.heard.append(Heard(who, told.timestamp() + 0.5 - middle, 0.5 + (ended - began) / 2))


async def connect(dsn: str) -> Session:
    """Open a connection that is set up as those of the service are, with short time-outs."""
    connection: Session = await asyncpg.connect(
        dsn,
        timeout=SECONDS,
        command_timeout=SECONDS,
        server_settings={"application_name": NAME, "timezone": "UTC", "synchronous_commit": "on"},
    )
    await connection.set_type_codec("jsonb", schema="pg_catalog", encoder=_dump, decoder=from_json)
    return connection


def _dump(value: Any) -> str:
    return to_json(value).decode()


def is_writable(folder: Path) -> bool:
    """Tell whether this process may make files in a folder, without making one."""
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)


def age(moment: datetime, now: datetime) -> float:
    """Return how many seconds ago a moment was, 0 for one to come."""
    return max(0.0, (now - moment).total_seconds())
