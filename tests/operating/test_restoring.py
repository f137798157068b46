"""A database restored to an earlier moment, as docs/operating.md describes it: what is unknown then, and what is done twice."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import asyncpg
import httpx
import pytest

from service.db.embedded import EmbeddedServer
from service.demo.s3server import S3Server
from service.ids import read
from tests.chaos.ground import Ground, ground
from tests.database import dsn_of
from tests.world import until


@pytest.fixture
async def on(database_url: str, s3_server: S3Server, tmp_path: Path) -> AsyncIterator[Ground]:
    async with ground(database_url, s3_server, tmp_path) as laid:
        yield laid


async def back_up(on: Ground, postgres: EmbeddedServer) -> Ground:
    """Return the ground as a restored backup of this moment would have it; nobody may be connected."""
    name, copy = on.database_url.rpartition("/test_")[2].partition("?")[0], f"restored_{uuid4().hex}"
    connection = await asyncpg.connect(postgres.dsn)
    try:
        await connection.execute(f"CREATE DATABASE {copy} TEMPLATE test_{name} STRATEGY FILE_COPY")
    finally:
        await connection.close()
    return replace(on, database_url=dsn_of(postgres.dsn, copy))


async def test_jobs_since_the_backup_are_unknown_and_their_callbacks_are_taken_and_change_nothing(
    on: Ground, postgres: EmbeddedServer
) -> None:
    async with on.process():
        await on.put_destination()
        before = await on.end(await on.submit())
    restored = await back_up(on, postgres)
    async with on.process():
        since = await on.end(await on.submit())
        async with on.client() as client:
            events = (await client.get(f"/v1/jobs/{since['id']}/events")).json()["data"]
    url = on.sandbox.submits[-1].callback_url
    async with restored.process() as process, restored.client() as client:
        assert (await restored.job(before))["status"] == "succeeded"
        assert (await client.get(f"/v1/jobs/{since['id']}")).status_code == 404
        assert (await client.get("/v1/events", params={"after": events[-1]["id"]})).status_code == 422
        async with httpx.AsyncClient(trust_env=False) as provider:
            assert url is not None
            assert (await provider.post(url, content=b"{}")).status_code == 200

        async def verdict() -> object:
            rows = await restored.fetch("SELECT verdict FROM callbacks WHERE job_id = $1", read("job", since["id"]))
            return rows and rows[0]["verdict"]

        assert await until(verdict) == "unknown_job"
        assert (await restored.end(await restored.submit()))["status"] == "succeeded", process.tail()


async def test_a_job_that_was_queued_in_the_backup_is_sent_and_paid_again(on: Ground, postgres: EmbeddedServer) -> None:
    async with on.process("api"):
        await on.put_destination()
        job = await on.submit()
    restored = await back_up(on, postgres)
    async with on.process():
        await on.end(job)
    async with restored.process():
        assert (await restored.end(job))["status"] == "succeeded"
    assert on.paid_for(job) == 2


async def test_a_job_that_was_running_in_the_backup_ends_without_being_paid_or_stored_again(
    on: Ground, postgres: EmbeddedServer
) -> None:
    async with on.process():
        await on.put_destination()
        job = await on.submit("a lighthouse [fault:held]")
        running = await on.until_status(job, "running")
    restored = await back_up(on, postgres)
    on.sandbox.release(running["provider_task_id"])
    async with on.process():
        first = await on.end(job)
    async with restored.process():
        second = await restored.end(job)
    assert on.paid_for(job) == 1
    assert [output["key"] for output in first["outputs"]] == [output["key"] for output in second["outputs"]]
    assert first["status"] == second["status"] == "succeeded"
