"""`genrelay dead`, on the database of a running service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from service.db.sql import queries
from service.demo.s3server import S3Server
from service.ids import new_uuid, read
from tests.cli.command import CommandLine
from tests.world import World, running_world, until


@pytest.fixture
async def world(database_url: str, s3_server: S3Server, bucket: str) -> AsyncIterator[World]:
    """A world that looks for overdue work many times a second."""
    async with running_world(database_url, s3_server, bucket, GENRELAY_ENGINE__SWEEP_SECONDS="0.1") as running:
        yield running


async def test_a_dead_letter_is_listed_and_its_job_is_due_again(genrelay: CommandLine, world: World) -> None:
    nothing = await genrelay.operate("dead", "list")
    assert nothing.out == "nothing was given up\n"

    job = await world.submit("a lighthouse [fault:lost]")
    await until(lambda: _runs(world, job))
    pool, job_id = world.service.pool, read("job", job["id"])
    await queries().bury(pool, id=new_uuid(), job_id=job_id, task="look_up", reason="it crashed five times")
    await queries().put_off(pool, id=job_id, seconds=10_000.0)

    table, listed = await asyncio.gather(genrelay.operate("dead", "list"), genrelay.operate("dead", "list", "--json"))
    [letter] = listed.json["data"]
    assert (letter["job"], letter["task"], letter["reason"]) == (job["id"], "look_up", "it crashed five times")
    assert letter["id"] in table.out

    revived = await genrelay.operate("dead", "retry", letter["id"], "--json")
    assert revived.json == {"id": letter["id"], "job": job["id"]}
    assert (await world.end(job))["status"] == "succeeded"
    twice = await genrelay.operate("dead", "retry", letter["id"])
    assert twice.status == 1
    assert "there is no such dead letter" in twice.err


async def _runs(world: World, job: dict[str, str]) -> bool:
    return (await world.job(job))["status"] == "running"
