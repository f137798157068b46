"""The named queries of `queries/*.sql`, loaded once."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, cast

import aiosql

from service.db.adapter import DirectAdapter

FOLDER = Path(__file__).parent / "queries"


@cache
def queries() -> Any:
    """Return all queries as methods: `await queries().get_job(connection, id=…, account_id=…)`."""
    return aiosql.from_path(FOLDER, cast(Any, DirectAdapter), mandatory_parameters=True)
