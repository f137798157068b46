"""The database: there or not, ours or not, a primary, durable, with room."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import asyncpg
import pytest

from service.db.embedded import EmbeddedServer
from service.doctor import examine
from service.doctor.database import API_CONNECTIONS, WORKER_CONNECTIONS
from service.engine.worker import MANAGERS
from tests.database import dsn_of
from tests.doctor.looking import look, settings, statuses, told
from tests.listening import listening
from tests.world import World, free_port, until


async def test_a_good_database_is_well(database_url: str) -> None:
    findings = await look(settings(database_url), "database")
    bad = {name: status for name, status in statuses(findings).items() if status != "ok"}
    assert bad == {"database.durability": "warning"}  # that of the tests does without fsync
    assert "fsync, full_page_writes off" in told(findings, "database.durability").found


async def test_nothing_is_left_behind(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    count = "SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) FROM pg_stat_user_tables"
    tables = "SELECT count(*) FROM pg_class"
    before = await connection.fetchval(count), await connection.fetchval(tables)
    await examine(settings(database_url))
    await connection.execute("SELECT pg_stat_force_next_flush()")
    await connection.execute("SELECT pg_stat_clear_snapshot()")
    assert (await connection.fetchval(count), await connection.fetchval(tables)) == before
    others = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'genrelay doctor' AND datname = current_database()"

    async def alone() -> bool:
        return not await connection.fetchval(others)

    await until(alone, 5)
    await connection.close()


async def test_a_closed_port_fails_once_and_skips_the_rest() -> None:
    findings = await examine(settings(f"postgresql://me@127.0.0.1:{free_port()}/none"))
    found = told(findings, "database.reachable")
    assert (found.status, found.found) == ("failed", "the database's host refuses connections")
    for check in ("migrations", "subscriptions", "queue", "secret_key"):
        assert told(findings, check).found == "not looked at: the database is away"
    for check in ("clock.database", "buckets.destinations", "buckets.aws"):
        assert told(findings, check).status == "skipped"
    assert [f.check for f in findings if f.status == "failed"] == ["database.reachable"]


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql://me@genrelay.invalid/none", "can't be resolved"),
        ("postgresql://me:pass/word@127.0.0.1:99999999/none", "not the URL of a PostgreSQL"),
    ],
)
async def test_a_url_that_leads_nowhere_is_told_apart(url: str, words: str) -> None:
    found = told(await look(settings(url), "database"), "database.reachable")
    assert found.status == "failed"
    assert words in found.found


async def test_a_database_that_is_not_there_is_named_as_that(postgres: EmbeddedServer) -> None:
    found = told(await look(settings(dsn_of(postgres.dsn, "no_such_database")), "database"), "database.reachable")
    assert "no such database" in found.found


async def test_a_wrong_password_is_told_without_it(postgres: EmbeddedServer) -> None:
    async def refuse(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said = b"SFATAL\0VFATAL\0C28P01\0Mpassword authentication failed: hunter2-of-the-database\0\0"
        await _reader.read(1000)
        writer.write(b"E" + (len(said) + 4).to_bytes(4, "big") + said)
        await writer.drain()
        writer.close()

    # The tests' own server trusts everybody; what one says that does not is known to the byte.
    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        url = f"postgresql://me:hunter2-of-the-database@127.0.0.1:{port}/none?sslmode=disable"
        found = told(await look(settings(url), "database"), "database.reachable")
    assert found.found == "PostgreSQL refuses the user or its password"
    assert "hunter2" not in str(found)


async def test_a_server_that_takes_connections_and_says_nothing_is_bounded() -> None:
    async def hang(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with listening(hang) as server:
        began = time.monotonic()
        findings = await examine(settings(f"postgresql://me@127.0.0.1:{server.port}/none"), only=("database", "queue"))
    assert time.monotonic() - began < 15
    assert "did not answer in time" in told(findings, "database.reachable").found
    assert told(findings, "queue").status == "skipped"


async def test_a_database_without_migrations_says_what_to_run(empty_database: str) -> None:
    findings = await examine(settings(empty_database))
    missing = told(findings, "migrations.missing")
    assert missing.status == "failed"
    assert "0001_foundation" in missing.found
    assert "genrelay migrate" in str(missing.hint)
    assert told(findings, "queue").found == "not looked at: the database lacks migrations"
    assert told(findings, "database.tables").status == "skipped"
    assert told(findings, "database.version").status == "ok"


async def test_a_newer_version_s_migration_is_a_warning(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    await connection.execute(
        "INSERT INTO public._pogo_migration (schema_name, migration_id, migration_hash, applied)"
        " VALUES ('public', '9999_future', 'x', now())"
    )
    await connection.close()
    findings = await look(settings(database_url), "migrations")
    assert statuses(findings) == {"migrations.missing": "ok", "migrations.unknown": "warning"}
    assert "9999_future" in told(findings, "migrations.unknown").found


async def _as_role(database_url: str, *commands: str) -> str:
    """Make a role with these rights; returns the DSN with it."""
    name = f"role_{uuid4().hex[:12]}"
    connection = await asyncpg.connect(database_url)
    await connection.execute(f"CREATE ROLE {name} LOGIN")
    for command in commands:
        await connection.execute(command.format(name))
    await connection.close()
    return database_url.replace("postgres@", f"{name}@", 1)


async def test_a_session_that_only_reads_is_like_a_standby(database_url: str) -> None:
    url = await _as_role(
        database_url,
        "ALTER ROLE {} SET default_transaction_read_only = on",
        "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {}",
    )
    findings = await look(settings(url), "database")
    assert told(findings, "database.primary").status == "failed"
    assert told(findings, "database.privileges").status == "ok"


async def test_missing_rights_name_the_tables(database_url: str) -> None:
    url = await _as_role(database_url, "GRANT SELECT ON ALL TABLES IN SCHEMA public TO {}")
    found = told(await look(settings(url), "database"), "database.privileges")
    assert found.status == "failed"
    assert "jobs" in found.found


async def test_a_role_with_few_connections_is_a_warning(database_url: str) -> None:
    url = await _as_role(
        database_url,
        "ALTER ROLE {} CONNECTION LIMIT 10",
        "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {}",
    )
    found = told(await look(settings(url), "database"), "database.role_limit")
    assert found.found == "this user may have 10 connections"


async def test_few_free_connections_are_a_warning(database_url: str) -> None:
    reader = await asyncpg.connect(database_url)
    most = int(await reader.fetchval("SHOW max_connections"))
    used = await reader.fetchval("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'")
    many = await asyncio.gather(*(asyncpg.connect(database_url) for _ in range(most - used - 20)))
    try:
        found = told(await look(settings(database_url), "database"), "database.connections")
    finally:
        for each in (*many, reader):
            each.terminate()
    assert found.status == "warning"
    assert "19 connections per API process, 21 per worker" in str(found.hint)


async def test_the_formula_counts_what_a_process_opens(world: World) -> None:
    pools = world.service.pool.get_max_size() + 2  # callbacks
    assert pools + 1 == API_CONNECTIONS
    assert API_CONNECTIONS + len(MANAGERS) == WORKER_CONNECTIONS


async def test_the_clocks_of_one_machine_agree(database_url: str) -> None:
    assert told(await look(settings(database_url), "clock"), "clock.database").status == "ok"


async def test_the_embedded_server_is_joined_and_left_running(postgres: EmbeddedServer) -> None:
    folder = Path(parse_qs(urlsplit(postgres.dsn).query)["host"][0]).parent
    findings = await examine({"GENRELAY_DATA_DIR": str(folder)}, only=("database", "migrations"))
    assert told(findings, "database.version").status == "ok"
    connection = await asyncpg.connect(postgres.dsn)
    await connection.close()
