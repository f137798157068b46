"""The named queries of `queries/*.sql`, loaded once."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, cast

import aiosql
from aiosql.query_loader import QueryLoader

from service.db.adapter import DirectAdapter
from service.db.columns import name_columns

FOLDER = Path(__file__).parent / "queries"


class _Loader(QueryLoader):
    """aiosql's, which names the columns of `{jobs.*}` first."""

    def load_query_data_from_sql(self, sql: str, ns_parts: list[str], fname: Path | str = "<unknown>") -> Any:
        """Read the queries of a file."""
        return super().load_query_data_from_sql(name_columns(sql), ns_parts, fname)


@cache
def queries() -> Any:
    """Return all queries as methods: `await queries().get_job(connection, id=…, account_id=…)`."""
    return aiosql.from_path(FOLDER, cast(Any, DirectAdapter), mandatory_parameters=True, loader_cls=_Loader)
