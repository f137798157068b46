"""The named queries of `queries/*.sql`, loaded once."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import aiosql

FOLDER = Path(__file__).parent / "queries"


@cache
def queries() -> Any:
    """Return all queries as methods: `await queries().get_job(connection, id=…, account_id=…)`."""
    return aiosql.from_path(FOLDER, "asyncpg", mandatory_parameters=True)
