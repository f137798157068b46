"""Running the named queries: aiosql loads and orders them, asyncpg's own methods run them.

aiosql's adapter for asyncpg asks every time whether it was given a pool or a connection, by listing the object's
attributes; both have the same methods, so ours just calls them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from aiosql.adapters.asyncpg import AsyncPGAdapter


class DirectAdapter(AsyncPGAdapter):
    """An adapter without the detour."""

    def _order(self, query_name: str, parameters: Any) -> list[Any]:
        return [parameters[name] for name in self.var_sorted[query_name]]

    async def select(
        self, conn: Any, query_name: str, sql: str, parameters: Any, record_class: Any = None
    ) -> AsyncIterator[Any]:
        """Yield every row."""
        for row in await conn.fetch(sql, *self._order(query_name, parameters)):
            yield row

    async def select_one(self, conn: Any, query_name: str, sql: str, parameters: Any, record_class: Any = None) -> Any:
        """Return the first row, None without one."""
        return await conn.fetchrow(sql, *self._order(query_name, parameters))

    async def select_value(self, conn: Any, query_name: str, sql: str, parameters: Any) -> Any:
        """Return the first column of the first row, None without one."""
        return await conn.fetchval(sql, *self._order(query_name, parameters))

    async def insert_update_delete(self, conn: Any, query_name: str, sql: str, parameters: Any) -> Any:
        """Run a statement that returns nothing."""
        return await conn.execute(sql, *self._order(query_name, parameters))
