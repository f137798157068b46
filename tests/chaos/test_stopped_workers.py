"""A worker stopped (SIGSTOP) past its lease and woken: it changes nothing, pays nothing, loses nothing."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

import pytest

from service.db.embedded import EmbeddedServer
from service.demo.s3server import S3Server
from service.points import POINTS
from tests.chaos.ground import Ground, ground
from tests.database import fresh_database
from tests.world import txt2img

# Who joins a limited lane is the process that takes the job in, not a worker. Outputs in parts have tests of their own.
ELSEWHERE = ("line.joined", "copy.upload", "copy.part")
WORK = [p for p in POINTS if p.startswith(("line.", "submit.", "judge.", "copy.")) and not p.startswith(ELSEWHERE)]
AT_A_TIME = 6


async def wake_and_let_end(stopped: Any) -> None:
    """Wake a worker and tell it to go: it comes to the end of what it was at, and then ends itself."""
    stopped.send(signal.SIGCONT)
    assert await stopped.terminate() == 0, stopped.tail()


async def stop_and_take_over(on: Ground, point: str) -> None:
    # Nothing but the callback may judge it where judging begins.
    first_poll = "60" if point == "judge.begun" else "1"
    armed = on.worker(GENRELAY_STOP_AT=point, GENRELAY_RECONCILE__FIRST_SECONDS=first_poll)
    async with on.process("api"), armed as stopped:
        await on.put_destination(manifest=point.startswith("copy.manifest"))
        job = await on.submit(input=txt2img(image_num=2))
        await stopped.stopped()
        async with on.worker():
            ended = await on.end(job)
            await wake_and_let_end(stopped)
            assert await on.job(job) == ended, "what a worker does too late changes nothing"
            if point == "submit.intent_committed":
                assert ended["error"]["code"] == "submit_unknown"
                await on.check(ended, stored=0, paid=0)
            else:
                assert ended["status"] == "succeeded", ended
                await on.check(ended, stored=2)


@pytest.mark.parametrize("points", [WORK[i : i + AT_A_TIME] for i in range(0, len(WORK), AT_A_TIME)], ids=" ".join)
async def test_another_worker_takes_over_from_one_that_is_stopped_at(
    points: list[str], postgres: EmbeddedServer, s3_server: S3Server, tmp_path: Path
) -> None:
    async def one(point: str) -> None:
        folder = tmp_path / point
        folder.mkdir()
        # A real answer is never unclear for so short a time; here nothing else would be waited for.
        settings = {"GENRELAY_SUBMIT__UNKNOWN_SECONDS": "1" if point == "submit.intent_committed" else "20"}
        if point.startswith("line."):  # where nothing is limited, nobody waits in line
            settings["GENRELAY_PROVIDERS__NOVITA__CONCURRENCY"] = "1"
        async with fresh_database(postgres) as url, ground(url, s3_server, folder, **settings) as on:
            try:
                await stop_and_take_over(on, point)
            except BaseException as error:
                error.add_note(f"stopped at {point}\n{on.logs()}")
                raise

    async with asyncio.TaskGroup() as group:
        for point in points:
            group.create_task(one(point))


async def test_a_worker_woken_after_its_window_does_not_send_and_says_so(
    database_url: str, s3_server: S3Server, tmp_path: Path
) -> None:
    """Woken while the submit is unclear: its word that nothing was sent is proof enough to send again."""
    async with (
        ground(database_url, s3_server, tmp_path, GENRELAY_SUBMIT__UNKNOWN_SECONDS="600") as on,
        on.process("api"),
        on.worker(GENRELAY_STOP_AT="submit.intent_committed") as stopped,
    ):
        await on.put_destination()
        job = await on.submit()
        await stopped.stopped()
        async with on.worker():
            await on.until_row(job, lambda row: row["submit_state"] == "unclear")
            assert on.sandbox.submits == []
            await wake_and_let_end(stopped)
            ended = await on.end(job)
        assert ended["status"] == "succeeded"
        await on.check(ended, stored=1)
        outcomes = await on.fetch("SELECT outcome FROM attempts ORDER BY number")
        assert [row["outcome"] for row in outcomes] == ["not_run", "accepted"]


async def test_a_resubmit_is_the_only_one_that_pays_when_the_stopped_worker_wakes(
    database_url: str, s3_server: S3Server, tmp_path: Path
) -> None:
    async with (
        ground(database_url, s3_server, tmp_path, GENRELAY_SUBMIT__UNKNOWN_SECONDS="0.5") as on,
        on.process("api"),
        on.worker(GENRELAY_STOP_AT="submit.intent_committed") as stopped,
    ):
        await on.put_destination()
        job = await on.submit(on_unclear="resubmit")
        await stopped.stopped()
        async with on.worker():
            ended = await on.end(job)
            await wake_and_let_end(stopped)
        assert ended["status"] == "succeeded"
        await on.check(ended, stored=1)


async def test_an_answer_that_a_stopped_worker_reads_too_late_changes_nothing(
    database_url: str, s3_server: S3Server, tmp_path: Path
) -> None:
    """Stopped while the provider holds its answer back; the callback brings the job home meanwhile."""
    async with ground(database_url, s3_server, tmp_path) as on, on.process("api"), on.worker() as stopped:
        await on.put_destination()
        job = await on.submit("a lighthouse [fault:hang=1]")
        await on.until_submitted()
        stopped.send(signal.SIGSTOP)
        async with on.worker():
            ended = await on.end(job)
            await wake_and_let_end(stopped)
        assert ended["status"] == "succeeded"
        assert await on.job(job) == ended
        await on.check(ended, stored=1)
        [attempt] = await on.fetch("SELECT * FROM attempts")
        assert (attempt["outcome"], attempt["task_id"]) == ("accepted", ended["provider_task_id"])
