"""What the service needs of a PostgreSQL of the operator's own, as docs/operating.md has it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from service.db.embedded import EmbeddedServer
from service.db.migrate import migrate
from service.demo.s3server import S3Server
from tests.chaos.ground import ground
from tests.database import dsn_of
from tests.operating.rules import ROOT

PAGE = (ROOT / "docs/operating.md").read_text(encoding="utf-8")


def documented_sql() -> list[str]:
    """Return the page's statements; the first ones are for the administrator, the others for who owns the tables."""
    return re.findall(r"^```sql\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture
async def names(postgres: EmbeddedServer) -> AsyncIterator[dict[str, str]]:
    """The database and roles of the page, under names of this test's own; they are dropped afterwards."""
    mark = uuid4().hex[:8]
    own = {name: f"{name}_{mark}" for name in ("genrelay_service", "genrelay")}
    yield own
    connection = await asyncpg.connect(postgres.dsn)
    await connection.execute(f"DROP DATABASE IF EXISTS {own['genrelay']} WITH (FORCE)")
    for role in own.values():
        await connection.execute(f"DROP ROLE IF EXISTS {role}")
    await connection.close()


def renamed(sql: str, names: dict[str, str]) -> str:
    return re.sub(r"\bgenrelay(_service)?\b", lambda found: names[found[0]], sql)


async def run_sql(dsn: str, sql: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        for statement in filter(str.strip, sql.split(";")):
            await connection.execute(statement)
    finally:
        await connection.close()


async def test_the_documented_roles_migrate_and_serve(
    postgres: EmbeddedServer, names: dict[str, str], s3_server: S3Server, tmp_path: Path
) -> None:
    administrator, owner = documented_sql()
    await run_sql(postgres.dsn, renamed(administrator, names))
    here = dsn_of(postgres.dsn, names["genrelay"])
    as_owner = here.replace("postgres@", f"{names['genrelay']}@")
    await migrate(as_owner)
    await run_sql(as_owner, renamed(owner, names))
    async with ground(here, s3_server, tmp_path) as laid:
        on = replace(laid, database_url=here.replace("postgres@", f"{names['genrelay_service']}@"))
        async with on.process():
            await on.put_destination()
            assert (await on.end(await on.submit()))["status"] == "succeeded"
