"""SIGKILL before and after each commit and each call to the outside; then started again."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.db.embedded import EmbeddedServer
from service.demo.s3server import S3Server
from service.points import POINTS
from tests.chaos.ground import Ground, ground
from tests.database import fresh_database
from tests.world import job_body, txt2img, until

AT_A_TIME = 6
# Outputs in parts, events and deliveries have tests of their own: an event is placed at some moment of whatever else is under
# way, a submit perhaps, which then ends as unclear. Also with one output stored and the other not.
WHOLE = [point for point in POINTS if not point.startswith(("copy.upload", "copy.part", "events.", "delivery."))]
CASES = [*WHOLE, "copy.fixed:2", "copy.put:2", "copy.stored:2"]


async def submit_until_accepted(on: Ground, key: str) -> dict[str, Any] | None:
    """Submit as a careful client does, with an idempotency key; None when there was no answer."""
    body = job_body(input=txt2img(image_num=2))

    async def submit() -> httpx.Response | None:
        answer = await client.post("/v1/jobs", json=body, headers={"Idempotency-Key": key})
        # With a heartbeat of two seconds a machine that is busy may well not be done with it in time.
        return None if answer.status_code == 503 else answer

    with contextlib.suppress(httpx.TransportError):
        async with on.client() as client:
            answer = await until(submit)
            assert answer.status_code == 202, answer.text
            return answer.json()  # type: ignore[no-any-return]
    return None


async def kill_and_recover(on: Ground, point: str) -> None:
    if point == "submit.intent_committed":  # no callback can come, so it is not waited for
        on.settings["GENRELAY_SUBMIT__UNKNOWN_SECONDS"] = "1"
    if point.startswith("line."):  # where nothing is limited, nobody waits in line
        on.settings["GENRELAY_PROVIDERS__NOVITA__CONCURRENCY"] = "1"
    # Nothing but the callback may judge it where judging begins.
    first_poll = "60" if point == "judge.begun" else "1"
    async with on.process(GENRELAY_CRASH_AT=point, GENRELAY_RECONCILE__FIRST_SECONDS=first_poll) as doomed:
        await on.put_destination(manifest=point.startswith("copy.manifest"))
        job = await submit_until_accepted(on, "order-1")
        assert await doomed.ended() == -signal.SIGKILL, f"it never came to {point}"
    async with on.process():
        again = await submit_until_accepted(on, "order-1")
        assert again is not None
        assert job is None or job["id"] == again["id"], "an accepted job is lost"
        await check_end(on, point, await on.end(again))
        assert await on.fetch("SELECT 1 FROM jobs OFFSET 1") == [], "one key, one job"


async def check_end(on: Ground, point: str, ended: dict[str, Any]) -> None:
    if point == "submit.intent_committed":
        # Nobody can tell that nothing was sent, so nothing is sent again; and no callback can come.
        assert ended["error"]["code"] == "submit_unknown"
        await on.check(ended, stored=0, paid=0)
    else:
        # Where the answer was lost (submit.sent), a later try of the callback has brought the job home.
        assert ended["status"] == "succeeded", ended
        await on.check(ended, stored=2)
    if point.startswith("copy.manifest"):
        manifest = json.loads(await asyncio.to_thread(on.s3.read, on.bucket, f"{on.path}/{ended['id']}/manifest.json"))
        assert [told["key"] for told in manifest["outputs"]] == [output["key"] for output in ended["outputs"]]


@pytest.mark.parametrize("points", [CASES[i : i + AT_A_TIME] for i in range(0, len(CASES), AT_A_TIME)], ids=" ".join)
async def test_a_job_ends_well_although_its_process_is_killed_at(
    points: list[str], postgres: EmbeddedServer, s3_server: S3Server, tmp_path: Path
) -> None:
    async def one(point: str) -> None:
        folder = tmp_path / point.replace(":", "-")
        folder.mkdir()
        async with fresh_database(postgres) as url, ground(url, s3_server, folder) as on:
            try:
                await kill_and_recover(on, point)
            except BaseException as error:
                error.add_note(f"killed at {point}\n{on.logs()}")
                raise

    async with asyncio.TaskGroup() as group:
        for point in points:
            group.create_task(one(point))
