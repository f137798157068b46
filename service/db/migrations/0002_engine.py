"""PgQueuer's own tables; its queue only hints at work, the truth is in `due_at` and the inbox."""

import asyncpg
from pgqueuer import Queries

__depends__ = ["0001_foundation"]


async def apply(db: asyncpg.Connection) -> None:
    queries = Queries.from_asyncpg_connection(db)
    await queries.install()
    await queries.optimize_autovacuum()


async def rollback(db: asyncpg.Connection) -> None:
    await Queries.from_asyncpg_connection(db).uninstall()
