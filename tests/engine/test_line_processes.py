"""Limits hold over all processes, and the line outlives each of them."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from service.demo.s3server import S3Server
from tests.chaos.ground import Ground, ground
from tests.engine.lining import TXT2IMG, upscale
from tests.world import until

pytestmark = pytest.mark.xdist_group("processes")


@pytest.fixture
async def on(database_url: str, s3_server: S3Server, tmp_path: Path) -> AsyncIterator[Ground]:
    """A ground for processes."""
    async with ground(database_url, s3_server, tmp_path) as laid:
        try:
            yield laid
        except BaseException as error:
            error.add_note(laid.logs())
            raise


async def _until_waiting(on: Ground, count: int) -> None:
    async def look() -> bool:
        [row] = await on.fetch("SELECT count(*) FROM line WHERE granted_at IS NULL")
        return bool(row["count"] == count)

    await until(look)


async def _end(on: Ground, jobs: list[dict[str, Any]]) -> list[str]:
    return [job["status"] for job in await asyncio.gather(*(on.end(job) for job in jobs))]


async def test_two_workers_together_have_no_more_jobs_at_the_provider_than_allowed(on: Ground) -> None:
    on.settings[TXT2IMG + "CONCURRENCY"] = "3"
    async with on.process("api"), on.worker(), on.worker():
        await on.put_destination()
        jobs = [await on.submit("a lighthouse [fault:held]") for _ in range(12)]
        await _until_waiting(on, 9)
        for released in range(12):
            await on.until_submitted(min(12, released + 3))
            assert len(on.sandbox.submits) <= released + 3
            on.sandbox.release(on.sandbox.submits[released].task_id)
        assert await _end(on, jobs) == ["succeeded"] * 12
        await on.check(*[await on.job(job) for job in jobs])


async def test_two_workers_together_ask_for_no_more_images_a_minute_than_allowed(on: Ground) -> None:
    on.settings[TXT2IMG + "IMAGES_PER_MINUTE"] = "4"
    async with on.process("api"), on.worker(), on.worker():
        await on.put_destination()
        jobs = [await on.submit() for _ in range(9)]
        await on.until_submitted(4)
        await _until_waiting(on, 5)
        # Whoever could go has gone by the time when another operation's job has come through.
        other = await on.submit(operation="upscale", input=upscale())
        assert (await on.end(other))["status"] == "succeeded"
        assert len(on.sandbox.submits) == 4 + 1
        await on.fetch("UPDATE grants SET at = at - interval '70 seconds'")
        await on.until_submitted(8 + 1)
        assert len(on.sandbox.submits) == 8 + 1
        await on.fetch("UPDATE grants SET at = at - interval '70 seconds'")
        assert await _end(on, jobs) == ["succeeded"] * 9


async def test_a_worker_that_is_killed_leaves_nobody_behind_in_line(on: Ground) -> None:
    on.settings[TXT2IMG + "CONCURRENCY"] = "2"
    async with on.process("api"):
        await on.put_destination()
        async with on.worker() as doomed:
            jobs = [await on.submit("a lighthouse [fault:held]") for _ in range(6)]
            await on.until_submitted(2)
            await _until_waiting(on, 4)
            doomed.send(signal.SIGKILL)
            await doomed.ended()
        for submit in on.sandbox.submits:
            on.sandbox.release(submit.task_id)
        async with on.worker():
            for number in range(2, 6):
                await on.until_submitted(number + 1)
                on.sandbox.release(on.sandbox.submits[number].task_id)
            assert await _end(on, jobs) == ["succeeded"] * 6
            await on.check(*[await on.job(job) for job in jobs])


async def test_a_worker_leaves_jobs_of_an_operation_that_it_does_not_know_to_one_that_does(on: Ground) -> None:
    kling: dict[str, Any] = {"GENRELAY_PROVIDERS__NOVITA__OPERATIONS__KLING__PATH": "/v3/async/kling"}
    asked: dict[str, Any] = {"operation": "kling", "input": {"request": {"prompt": "a lighthouse at dawn"}}}
    async with on.process("api", **kling), on.worker():
        await on.put_destination()
        jobs = [await on.submit(**asked) for _ in range(3)]
        await _until_waiting(on, 3)
        # The worker that does not know them goes on with its own.
        assert (await on.end(await on.submit()))["status"] == "succeeded"
        async with on.worker(**kling):
            # Kling takes no callback URL, so its jobs are polled; which of the two asks makes no difference.
            assert await _end(on, jobs) == ["succeeded"] * 3
            assert [submit.endpoint for submit in on.sandbox.paid] == ["txt2img", *["kling"] * 3]


async def test_an_idle_worker_hears_of_the_line_by_its_heartbeat(on: Ground) -> None:
    on.settings[TXT2IMG + "CONCURRENCY"] = "1"
    async with on.process("api"), on.worker() as first:
        await on.put_destination()
        jobs = [await on.submit("a lighthouse [fault:held]") for _ in range(2)]
        await _until_waiting(on, 1)
        async with on.worker():
            first.send(signal.SIGSTOP)
            on.sandbox.release(on.sandbox.submits[0].task_id)
            await on.until_submitted(2)
            on.sandbox.release(on.sandbox.submits[1].task_id)
            assert await _end(on, jobs) == ["succeeded"] * 2
            first.send(signal.SIGCONT)
