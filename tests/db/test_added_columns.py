"""A migration that adds columns changes nothing for who runs beside it: each statement's rows stay as they were."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import uuid4

import asyncpg
import pytest

from service.db.columns import name_columns
from service.db.pool import DATABASE_AWAY, Connection, open_pool
from service.db.sql import queries

_OURS = """
SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
AND relname !~ '^(pgqueuer|_pogo)'
"""


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


def _statements() -> dict[str, str]:
    known = queries()
    return {name: getattr(known, name).sql for name in known.available_queries if not name.endswith("_cursor")}


async def _rows_of(db: Connection) -> dict[str, list[tuple[str, str]]]:
    """Return the names and types of each statement's result columns."""
    found = {}
    for name, statement in _statements().items():
        prepared = await db.prepare(statement)
        found[name] = [(each.name, each.type.name) for each in prepared.get_attributes()]
    return found


async def test_no_statement_returns_other_columns_once_every_table_has_one_more(db: Connection) -> None:
    before = await _rows_of(db)
    tables = [row["relname"] for row in await db.fetch(_OURS)]
    assert {"jobs", "outputs", "subscriptions", "feed"} < set(tables)
    for number, table in enumerate(tables):
        await db.execute(f"ALTER TABLE {table} ADD COLUMN of_a_later_version_{number} text")
    after = await _rows_of(db)
    assert len(before) > 100
    assert {name: (before[name], rows) for name, rows in after.items() if rows != before[name]} == {}


async def test_a_prepared_statement_goes_on_within_a_transaction_after_a_column_came(database_url: str) -> None:
    pool = await open_pool(database_url, size=1)
    other = await asyncpg.connect(database_url)
    try:
        async with pool.acquire() as connection:
            assert await queries().lock_job(connection, id=uuid4()) is None
            await other.execute("ALTER TABLE jobs ADD COLUMN of_a_later_version text")
            async with connection.transaction():
                assert await queries().lock_job(connection, id=uuid4()) is None
    finally:
        await other.close()
        await pool.close()


async def test_without_names_it_would_be_told_to_try_again_later(database_url: str) -> None:
    pool = await open_pool(database_url, size=1)
    other = await asyncpg.connect(database_url)
    statement = "SELECT * FROM jobs WHERE id = $1 FOR NO KEY UPDATE"
    try:
        async with pool.acquire() as connection:
            await connection.fetchrow(statement, uuid4())
            await other.execute("ALTER TABLE jobs ADD COLUMN of_a_later_version text")
            with pytest.raises(asyncpg.InvalidCachedStatementError) as raised:
                async with connection.transaction():
                    await connection.fetchrow(statement, uuid4())
            assert isinstance(raised.value, DATABASE_AWAY), "which is answered 503"
            async with connection.transaction():
                assert await connection.fetchrow(statement, uuid4()) is None
    finally:
        await other.close()
        await pool.close()


def test_rows_are_named_by_their_table_or_by_what_they_came_through() -> None:
    assert name_columns("SELECT {dead_letters.*} FROM dead_letters").startswith(
        "SELECT dead_letters.id, dead_letters.job_id, "
    )
    named = name_columns("SELECT {late.* of dead_letters}, '{*}' FROM late")
    assert named == (
        "SELECT late.id, late.job_id, late.task, late.reason, late.created_at, late.retried_at, '{*}' FROM late"
    )


def test_a_table_whose_columns_are_not_listed_is_refused() -> None:
    with pytest.raises(KeyError):
        name_columns("SELECT {feed.*} FROM feed")
