"""Jobs mark a destination that begins to fail, and take the mark away when it takes something again."""

from __future__ import annotations

from typing import Any

from service.db.sql import queries
from service.outputs.destinations import read_target
from service.outputs.errors import DestinationDenied
from service.outputs.health import note_failure
from tests.engine.driven import Driven
from tests.listening import answering, listening
from tests.world import destination


async def _put(driven: Driven, **changes: Any) -> None:
    given = {**destination(driven.s3, driven.bucket), **changes}
    assert (await driven.client.put("/v1/destinations/acme?check=false", json=given)).status_code == 200


async def _told(driven: Driven) -> list[str]:
    answer = await driven.client.get("/v1/destinations/acme/events")
    return [event["type"].removeprefix("destination.") for event in answer.json()["data"]]


async def _status(driven: Driven) -> tuple[str, str | None]:
    shown = (await driven.client.get("/v1/destinations/acme")).json()
    return shown["status"], shown["failure"] and shown["failure"]["code"]


async def test_jobs_that_the_bucket_refuses_mark_it_with_one_event(driven: Driven) -> None:
    await _put(driven, bucket="not-there-at-all")
    for _ in range(2):
        job = await driven.copy(await driven.copying())
        assert job["error"]["code"] == "destination_denied"
    assert await _status(driven) == ("failing", "NoSuchBucket")
    assert await _told(driven) == ["failing"]


async def test_job_that_is_stored_takes_the_mark_away(driven: Driven) -> None:
    row = await driven.service.pool.fetchrow("SELECT id FROM destinations")
    assert row is not None
    await note_failure(driven.service.pool, row["id"], DestinationDenied("denied", s3_code="AccessDenied"))
    assert await _status(driven) == ("failing", "AccessDenied")
    for _ in range(2):
        assert (await driven.copy(await driven.copying()))["status"] == "succeeded"
    assert await _status(driven) == ("unchecked", None)
    assert await _told(driven) == ["failing", "recovered"]


async def test_bucket_that_can_not_be_reached_is_marked_once_a_job_has_given_up(driven: Driven) -> None:
    async with listening(answering()) as silent:
        await _put(driven, endpoint_url=f"http://127.0.0.1:{silent.port}")
        job = await driven.copy(await driven.copying())
        assert job["status"] == "copying"
        assert await _status(driven) == ("unchecked", None)
        await driven.sql("UPDATE jobs SET tries = $1", driven.context.settings.outputs.max_attempts - 1)
        job = await driven.copy(job)
    assert job["error"]["code"] == "destination_unavailable"
    assert await _status(driven) == ("failing", "destination_unavailable")


async def test_object_of_somebody_elses_says_nothing_of_the_bucket(driven: Driven) -> None:
    await _put(driven, path="a")
    job = await driven.copying()
    async with driven.context.buckets.client(await _spec(driven)) as s3:
        await s3.put_object(Bucket=driven.bucket, Key=f"a/{job['id']}/00.jpeg", Body=b"somebody else's")
    job = await driven.copy(job)
    assert job["error"]["code"] == "destination_conflict"
    assert await _status(driven) == ("unchecked", None)


async def _spec(driven: Driven) -> Any:
    row = await driven.service.pool.fetchrow("SELECT id FROM destinations")
    assert row is not None
    full = await queries().get_destination_by_id(driven.service.pool, id=row["id"])
    return read_target(driven.context.keyring, full, None, ()).spec
