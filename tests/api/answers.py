"""What an answer must look like, and what tests of the HTTP interface send again and again."""

from __future__ import annotations

from typing import Any

import asyncpg
import httpx

from tests.world import World


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """Return the problem document of an answer, after checking everything that each of them must have."""
    assert answer.status_code == status, (answer.status_code, answer.text[:500])
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert document["code"] == code, document
    assert document["status"] == status
    assert document["type"] == f"/problems/{code}"
    assert document["title"]
    assert document["detail"]
    assert document["request_id"] == answer.headers["x-request-id"]
    assert isinstance(document["errors"], list)
    return document


def paths_of(answer: httpx.Response) -> set[str]:
    """Return the paths that a 422 names."""
    return {error["path"] for error in problem(answer, 422, "invalid_request")["errors"]}


async def count(world: World, table: str) -> int:
    """Return how many rows a table has."""
    return int(await world.service.pool.fetchval(f"SELECT count(*) FROM {table}"))


async def rows_of_jobs(world: World) -> dict[str, int]:
    """Return how many rows there are that a job makes."""
    tables = ("jobs", "job_inputs", "events", "outputs", "idempotency_keys", "attempts", "pgqueuer")
    return {table: await count(world, table) for table in tables}


async def age(world: World, statement: str, *values: Any) -> None:
    """Change what only time changes."""
    connection = await asyncpg.connect(world.service.dsn)
    try:
        await connection.execute(statement, *values)
    finally:
        await connection.close()
