"""Work that crashes whoever takes it up is given up in the end, and can be revived."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

import httpx

from service.db.embedded import EmbeddedServer
from service.db.pool import open_pool
from service.db.sql import queries
from service.demo.s3server import S3Server
from tests.chaos.ground import Ground, ground
from tests.database import fresh_database
from tests.processes import Process
from tests.world import until

# Where it crashes, which task that is, and what the job is like. (A mock is judged without a read-back between tries.)
POISON: list[tuple[str, str, dict[str, Any]]] = [
    ("submit.intent_before_commit", "submit", {}),
    ("judge.read_back", "look_up", {"prompt": "a lighthouse [fault:lost]"}),
    (
        "judge.before_commit",
        "settle",
        {"test_mode": {"enabled": True, "return_task_status": "TASK_STATUS_SUCCEED"}},
    ),
    ("copy.downloaded", "copy", {}),
]
MOST = 3


async def crash_until_given_up(on: Ground, point: str, like: dict[str, Any]) -> str:
    """Start again and again with the same point armed, until it is not reached any more; returns the job's id."""
    crashes, job = 0, ""
    while True:
        async with on.process(
            GENRELAY_CRASH_AT=armed(point, crashes), GENRELAY_ENGINE__MAX_STARTS=str(MOST)
        ) as process:
            if not job:
                await on.put_destination()
                job = (await on.submit(**like))["id"]
            if await died(process, on):
                crashes += 1
                assert crashes < 10, on.logs()
                continue
            if not await lives(process, on):
                assert point.startswith("submit"), on.logs()
                crashes += 1
                continue
        # A submit's point is also passed before its start is counted, by as many tasks as happen to hint at the job at
        # once: that adds crashes, but no more than the bound above.
        assert crashes > MOST if point.startswith("submit") else crashes == MOST, on.logs()
        return job


def armed(point: str, crashes: int) -> str:
    """A submit's first start is not counted, for the sake of all that don't crash; later ones pass the point twice."""
    return f"{point}:2" if point.startswith("submit") and crashes else point


async def died(process: Process, on: Ground) -> bool:
    """Return whether the process kills itself; False once there is a dead letter."""

    async def look() -> str:
        if not process.alive:
            return "dead"
        return "buried" if await on.fetch("SELECT 1 FROM dead_letters") else ""

    if await until(look) == "buried":
        return False
    assert await process.ended() == -signal.SIGKILL
    return True


async def lives(process: Process, on: Ground) -> bool:
    """Return whether it answers once the work is given up: a second hint at a submit may have been under way just then."""
    try:
        async with on.client() as client:
            assert (await client.get("/livez")).status_code == 200
    except httpx.TransportError:
        assert await process.ended() == -signal.SIGKILL
        return False
    return True


async def revive_all(on: Ground) -> None:
    async with await open_pool(on.database_url, size=1) as pool:
        for letter in await on.fetch("SELECT id FROM dead_letters"):
            assert await queries().revive(pool, id=letter["id"]) is not None


async def give_up_and_revive(on: Ground, point: str, task: str, like: dict[str, Any]) -> None:
    job = {"id": await crash_until_given_up(on, point, like)}
    [letter] = await on.fetch("SELECT task, reason FROM dead_letters")
    assert letter["task"] == task
    assert letter["reason"] == f"started {MOST} times without an end"
    await revive_all(on)
    async with on.process():
        ended = await on.end(job)
    assert ended["status"] == "succeeded", on.logs()
    if "test_mode" in like:
        assert [output["status"] for output in ended["outputs"]] == ["mock"]
    else:
        await on.check(ended, stored=1)


async def test_a_task_that_crashes_its_worker_every_time_becomes_a_dead_letter_and_can_be_revived(
    postgres: EmbeddedServer, s3_server: S3Server, tmp_path: Path
) -> None:
    async def one(point: str, task: str, like: dict[str, Any]) -> None:
        folder = tmp_path / task
        folder.mkdir()
        async with fresh_database(postgres) as url, ground(url, s3_server, folder) as on:
            await give_up_and_revive(on, point, task, like)

    async with asyncio.TaskGroup() as group:
        for case in POISON:
            group.create_task(one(*case))
