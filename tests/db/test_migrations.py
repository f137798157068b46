"""Migrations: in any order of processes, once, and with the same result."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from pogo_core.util.migrate import apply, rollback

from service.db import migrate as migrations
from service.db.migrate import FOLDER, migrate, names, pending

_SCHEMA = {
    "columns": """SELECT table_name, column_name, data_type, is_nullable, column_default FROM information_schema.columns
                  WHERE table_schema = 'public' ORDER BY 1, 2""",
    "indexes": "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1, 2",
    "constraints": """SELECT conrelid::regclass::text AS of, conname, pg_get_constraintdef(oid) FROM pg_constraint
                      WHERE connamespace = 'public'::regnamespace ORDER BY 1, 2""",
    "triggers": "SELECT tgrelid::regclass::text AS of, tgname FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1, 2",
    "functions": "SELECT proname, prosrc FROM pg_proc WHERE pronamespace = 'public'::regnamespace ORDER BY 1",
    "settings": "SELECT relname, reloptions FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1",
}


async def _schema(dsn: str) -> dict[str, list[dict[str, Any]]]:
    connection = await asyncpg.connect(dsn)
    try:
        return {name: [dict(row) for row in await connection.fetch(query)] for name, query in _SCHEMA.items()}
    finally:
        await connection.close()


async def test_a_fresh_database_lacks_every_migration_and_then_none(empty_database: str) -> None:
    assert await pending(empty_database) == names()
    await migrate(empty_database)
    assert await pending(empty_database) == []


async def test_applying_twice_changes_nothing(database_url: str) -> None:
    before = await _schema(database_url)
    await migrate(database_url)
    assert await _schema(database_url) == before


async def test_several_processes_at_once_bring_it_to_the_same_schema(empty_database: str, database_url: str) -> None:
    await asyncio.gather(*(migrate(empty_database) for _ in range(4)))
    assert await _schema(empty_database) == await _schema(database_url)
    connection = await asyncpg.connect(empty_database)
    applied = await connection.fetch("SELECT migration_id FROM _pogo_migration ORDER BY 1")
    await connection.close()
    assert [row["migration_id"] for row in applied] == names()


async def test_step_by_step_gives_the_same_schema_as_all_at_once(
    empty_database: str, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "FOLDER", tmp_path)
    for name in names_in(FOLDER):
        [file] = FOLDER.glob(f"{name}.*")
        (tmp_path / file.name).write_bytes(file.read_bytes())
        await migrate(empty_database)
    assert await _schema(empty_database) == await _schema(database_url)


def names_in(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.iterdir() if path.suffix in {".sql", ".py"})


async def test_a_migration_can_be_taken_back_and_applied_again(empty_database: str, database_url: str) -> None:
    await migrate(empty_database)
    connection = await asyncpg.connect(empty_database)
    log = logging.getLogger("test")
    try:
        await rollback(connection, FOLDER, count=len(names()), schema_name="public", logger=log)
        left = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        assert {row["tablename"] for row in left} <= {"_pogo_migration", "_pogo_version"}
        await apply(connection, FOLDER, schema_name="public", logger=log)
    finally:
        await connection.close()
    assert await _schema(empty_database) == await _schema(database_url)


def test_migrations_are_numbered_without_gaps() -> None:
    assert [name.partition("_")[0] for name in names()] == [f"{n:04}" for n in range(1, len(names()) + 1)]
