"""Jobs mark a destination that begins to fail, and take the mark away when it takes something again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

from service.db.sql import queries
from service.outputs.destinations import read_target
from service.outputs.errors import DestinationDenied
from service.outputs.health import note_failure
from tests.aws import ACCOUNT, StsFront
from tests.engine.driven import Driven
from tests.listening import answering, listening
from tests.world import destination, until


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


async def _check(driven: Driven) -> list[str]:
    report = (await driven.client.post("/v1/destinations/acme/check")).json()
    return [step["code"] for step in report["steps"] if step["step"] == "assume_role"]


async def test_key_of_the_service_itself_that_is_no_good_is_no_bucket_s_fault(driven: Driven, sts: StsFront) -> None:
    await _put(driven, auth={"type": "assume_role", "role_arn": f"arn:aws:iam::{ACCOUNT}:role/customers/genrelay"})
    sts.be("bad_key")
    job = await driven.copy(await driven.copying())
    assert job["status"] == "copying"
    assert await _check(driven) == ["InvalidClientTokenId"]
    await driven.sql("UPDATE jobs SET tries = $1", driven.context.settings.outputs.max_attempts - 1)
    job = await driven.copy(job)
    assert (job["status"], job["error"]["code"]) == ("failed", "destination_unavailable")
    assert "operator" in job["error"]["hint"]
    assert (await _status(driven), await _told(driven)) == (("unchecked", None), [])
    sts.be("answer")
    await driven.retry(job)
    assert (await driven.drive(job))["status"] == "succeeded"


async def test_role_that_does_not_let_us_in_ends_the_job_and_marks_the_destination(
    driven: Driven, sts: StsFront
) -> None:
    await _put(driven, auth={"type": "assume_role", "role_arn": f"arn:aws:iam::{ACCOUNT}:role/customers/genrelay"})
    sts.be("deny")
    job = await driven.copy(await driven.copying())
    assert (job["status"], job["error"]["code"]) == ("failed", "destination_denied")
    assert await _status(driven) == ("failing", "AccessDenied")


async def test_success_after_a_put_that_checked_nothing_is_told(driven: Driven) -> None:
    await _put(driven, bucket="not-there-at-all")
    await driven.copy(await driven.copying())
    assert await _told(driven) == ["failing"]
    await _put(driven)
    for _ in range(2):
        assert (await driven.copy(await driven.copying()))["status"] == "succeeded"
    assert (await _status(driven), await _told(driven)) == (("unchecked", None), ["failing", "recovered"])


async def _copy_while(driven: Driven, happens: Awaitable[None]) -> dict[str, Any]:
    """Let something happen while a job's output is on its way; returns the job."""
    job = await driven.copying("a lighthouse [fault:slow_image=0.5]")
    copying = asyncio.create_task(driven.copy(job))

    async def begun() -> bool:
        return driven.sandbox.tasks[job["provider_task_id"]].downloads.total() > 0

    await until(begun)
    await happens
    return await copying


async def test_refusal_of_a_bucket_that_was_replaced_meanwhile_does_not_mark_the_new_one(driven: Driven) -> None:
    await _put(driven, bucket="not-there-at-all")
    job = await _copy_while(driven, _put(driven))
    assert job["error"]["code"] == "destination_denied"
    assert (await _status(driven), await _told(driven)) == (("unchecked", None), [])


async def test_success_in_a_bucket_that_was_replaced_meanwhile_does_not_clear_the_new_one(driven: Driven) -> None:
    [row] = await driven.sql("SELECT id FROM destinations")
    await note_failure(driven.service.pool, row["id"], DestinationDenied("denied", s3_code="AccessDenied"))

    async def replace_it() -> None:
        await _put(driven, bucket="not-there-at-all")
        await note_failure(driven.service.pool, row["id"], DestinationDenied("none", s3_code="NoSuchBucket"))

    assert (await _copy_while(driven, replace_it()))["status"] == "succeeded"
    assert (await _status(driven))[0] == "failing"
    assert "recovered" not in await _told(driven)


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
