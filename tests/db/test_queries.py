"""Every named query is used, and PostgreSQL understands each."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import asyncpg

from service.db.sql import FOLDER, queries

ROOT = Path(__file__).parents[2]
_NAME = re.compile(r"^-- name: (\w+)", re.MULTILINE)
_USE = re.compile(r"\b(?:queries\(\)|sql)\.(\w+)[(,]")


def _named() -> list[str]:
    return [name for path in sorted(FOLDER.glob("*.sql")) for name in _NAME.findall(path.read_text(encoding="utf-8"))]


def _sources() -> dict[Path, str]:
    folders = (ROOT / "service", ROOT / "handlers")
    return {path: path.read_text(encoding="utf-8") for folder in folders for path in folder.rglob("*.py")}


def test_every_named_query_is_used_somewhere() -> None:
    used = {name for text in _sources().values() for name in _USE.findall(text)}
    assert set(_named()) - used == set(), "delete these, or use them"


def test_every_query_that_is_used_has_a_name_and_no_name_stands_twice() -> None:
    used = {name for text in _sources().values() for name in re.findall(r"\bqueries\(\)\.(\w+)\(", text)}
    assert used <= set(_named())
    assert [name for name, count in Counter(_named()).items() if count > 1] == []


def test_every_query_has_a_line_that_says_what_for() -> None:
    for path in FOLDER.glob("*.sql"):
        text = path.read_text(encoding="utf-8")
        bare = re.findall(r"^-- name: (\w+).*\n(?!-- \w)", text, re.MULTILINE)
        assert bare == [], path.name


async def test_postgresql_can_prepare_every_query(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        for name in _named():
            query: Any = getattr(queries(), name)
            prepared = await connection.prepare(query.sql)
            assert len(prepared.get_parameters()) == len(query.parameters or []), name
    finally:
        await connection.close()
