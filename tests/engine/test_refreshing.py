"""A URL that is over is asked for anew, as long as the provider may just not be reachable."""

from __future__ import annotations

import time
from typing import Any

from service.demo.s3server import S3Server
from tests.engine.driven import Driven, driven_world
from tests.world import destination


def _away(driven: Driven, job: dict[str, Any], look_ups: int) -> None:
    """Let the next look-ups of the job's task fail."""
    values = driven.sandbox.tasks[job["provider_task_id"]].submission.faults.values
    assert isinstance(values, dict)
    values["lookup_500"] = driven.lookups(job) + look_ups


async def test_a_provider_that_can_not_be_asked_for_a_fresh_url_is_asked_until_it_can(driven: Driven) -> None:
    job = await driven.copying("a lighthouse [fault:expired]")
    _away(driven, job, 6)
    job = await driven.drive(job)
    assert job["status"] == "succeeded", job
    assert len(driven.sandbox.paid) == 1


async def test_the_pauses_between_the_questions_grow(driven: Driven) -> None:
    job = await driven.copying("a lighthouse [fault:expired]")
    _away(driven, job, 5)
    pauses = []
    for _ in range(5):
        job = await driven.copy(job)
        [row] = await driven.sql("SELECT extract(epoch FROM due_at - now())::float8 AS pause, rereads FROM jobs")
        pauses.append(row["pause"])
        assert row["rereads"] == 0
    assert pauses == sorted(pauses)
    assert pauses[0] < 11
    assert pauses[-1] > 100


async def test_a_provider_that_stays_away_ends_the_copy_with_what_to_do_and_a_retry_asks_again(
    database_url: str, s3_server: S3Server, bucket: str
) -> None:
    async with driven_world(database_url, s3_server, bucket, GENRELAY_OUTPUTS__MAX_ATTEMPTS="4") as driven:
        job = await driven.copying("a lighthouse [fault:expired]")
        _away(driven, job, 4)
        job = await driven.drive(job)
        assert (job["status"], job["error"]["code"]) == ("failed", "output_expired")
        assert "`retry` asks it" in job["error"]["hint"]
        assert (await driven.retry(job)).status_code == 202
        assert (await driven.drive(job))["status"] == "succeeded"
        assert len(driven.sandbox.paid) == 1


async def test_a_copy_does_not_wait_long_for_a_provider_when_the_file_is_stored_elsewhere(driven: Driven) -> None:
    job = await driven.drive(await driven.called_back("a lighthouse [fault:expired]"))
    assert job["status"] == "succeeded"
    elsewhere = destination(driven.s3, driven.bucket, path="copies")
    assert (await driven.client.put("/v1/destinations/other", json=elsewhere)).status_code == 201
    driven.sandbox.now = lambda: time.time() + 7200
    before = driven.lookups(job)
    _away(driven, job, 100)
    answer = await driven.client.post(f"/v1/jobs/{job['id']}/copy", json={"destination": "other"})
    copied = await driven.drive(answer.json())
    assert copied["status"] == "succeeded"
    assert driven.lookups(job) - before <= 4
