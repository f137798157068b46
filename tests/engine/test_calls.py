"""Calls that the provider answers with the result itself: minutes long, without task, callback or read-back."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from service.demo.s3server import S3Server
from service.engine.calls import Calls
from service.engine.outcome import record_outcome
from service.engine.pulse import Pulse
from service.engine.submit import submit
from service.providers.contract import Finished, Source
from tests.engine.conftest import Limited
from tests.engine.driven import Driven, uuid
from tests.world import World, running_world, until

SIZE = "1024x1024"
SUBMIT_TIMEOUT = "GENRELAY_PROVIDERS__NOVITA__SUBMIT_TIMEOUT_SECONDS"
CALL_TIMEOUT = "GENRELAY_PROVIDERS__NOVITA__CALL_TIMEOUT_SECONDS"


def seedream(prompt: str = "a lighthouse at dawn", **changes: Any) -> dict[str, Any]:
    """Return what makes a job one for Seedream."""
    images = changes.pop("images", None)
    many = {} if images is None else {"sequential_image_generation": "auto", "max_images": images}
    return {"operation": "seedream-4.0", "input": {"prompt": prompt, "size": SIZE, **many}, **changes}


async def reached(driven: World, count: int = 1) -> str:
    """Wait until so many submits have reached the provider; returns the last one's task id."""

    async def arrived() -> bool:
        return len(driven.sandbox.submits) >= count

    await until(arrived)
    return driven.sandbox.submits[count - 1].task_id


async def test_the_answer_is_the_result(driven: Driven) -> None:
    job = await driven.drive(await driven.submit(**seedream(images=3)))
    assert (job["status"], job["verified_by"], job["provider_task_id"]) == ("succeeded", "sync", None)
    assert [output["status"] for output in job["outputs"]] == ["stored"] * 3
    assert len(driven.keys()) == 3
    assert await driven.types(job) == ["job.queued", "job.copying", *["output.stored"] * 3, "job.succeeded"]
    assert len(driven.sandbox.paid) == 1


@pytest.mark.parametrize("fault", ["url_objects", "data_uri", "base64"])
async def test_outputs_come_in_every_form(driven: Driven, fault: str) -> None:
    job = await driven.drive(await driven.submit(**seedream(f"a lighthouse [fault:{fault}]")))
    assert (job["status"], job["error"]) == ("succeeded", None)
    assert len(driven.keys()) == 1
    assert await driven.sql("SELECT index FROM inline_outputs") == []


async def test_fewer_images_than_asked_for_are_no_error_and_none_is(driven: Driven) -> None:
    fewer = await driven.drive(await driven.submit(**seedream("a lighthouse [fault:fewer]", images=3)))
    assert (fewer["status"], len(fewer["outputs"])) == ("succeeded", 2)
    none = await driven.drive(await driven.submit(**seedream("a lighthouse [fault:no_outputs]")))
    assert (none["status"], none["error"]["code"], none["verified_by"]) == ("failed", "no_outputs", "sync")


async def test_a_call_takes_no_place_from_other_work(driven: Driven) -> None:
    job = await driven.submit(**seedream("a lighthouse [fault:held]"))
    await submit(driven.context, uuid(job))  # returns although the call is under way
    task = await reached(driven)
    assert (len(driven.context.calls), (await driven.job(job))["status"]) == (1, "submitting")
    other = await driven.drive(await _while_held(driven))
    assert other["status"] == "succeeded"
    driven.sandbox.release(task)
    await driven.context.calls.wait()
    assert (await driven.drive(job))["status"] == "succeeded"


async def _while_held(driven: Driven) -> dict[str, Any]:
    """Take another job to where nothing but verdict and copy are left, past the call that is held."""
    job = await driven.submit("a ship at noon")
    await submit(driven.context, uuid(job))
    await driven.wait_for_callbacks(job)
    job = await driven.settle(job)
    return await driven.copy(job)


async def test_a_cancel_breaks_the_call_off_and_retry_asks_before_it_pays_again(driven: Driven) -> None:
    job = await driven.submit(**seedream("a lighthouse [fault:held]"))
    await submit(driven.context, uuid(job))
    task = await reached(driven)
    assert (await driven.cancel(job))["status"] == "canceled"
    await driven.context.calls.wait()
    [attempt] = await driven.sql("SELECT outcome, note FROM attempts WHERE job_id = $1", uuid(job))
    assert attempt["outcome"] == "unclear"
    assert "ended" in attempt["note"]
    refused = await driven.retry(job)
    assert (refused.status_code, refused.json()["code"]) == (409, "second_charge")
    driven.sandbox.release(task)
    assert (await driven.retry(job, accept_second_charge=True)).status_code == 202


async def test_a_deadline_breaks_the_call_off(driven: Driven) -> None:
    job = await driven.submit(**seedream("a lighthouse [fault:held]"))
    await submit(driven.context, uuid(job))
    await reached(driven)
    await driven.later(job, 3600)
    await submit(driven.context, uuid(job))
    await driven.context.calls.wait()
    job = await driven.job(job)
    assert (job["status"], job["error"]["code"]) == ("failed", "deadline_exceeded")


async def test_a_call_may_take_longer_than_a_submit_may(limited: Limited) -> None:
    async with limited(**{SUBMIT_TIMEOUT: "0.3", CALL_TIMEOUT: "5"}) as driven:
        job = await driven.drive(await driven.submit(**seedream("a lighthouse [fault:hang=1]")))
        assert (job["status"], job["verified_by"], len(driven.sandbox.paid)) == ("succeeded", "sync", 1)


async def test_a_call_that_takes_longer_than_it_may_ends_as_unclear(limited: Limited) -> None:
    async with limited(**{SUBMIT_TIMEOUT: "5", CALL_TIMEOUT: "0.3"}) as driven:
        job = await driven.drive(await driven.submit(**seedream("a lighthouse [fault:hang=1]")))
        assert (job["status"], job["error"]["code"]) == ("failed", "submit_unknown")
        assert len(driven.sandbox.paid) == 1


async def test_a_refusal_in_arks_envelope_ends_the_job_with_its_words(driven: Driven) -> None:
    job = await driven.drive(await driven.submit(**seedream("a lighthouse [fault:ark_400]")))
    assert (job["status"], job["verified_by"], job["error"]["code"]) == ("failed", "sync", "provider_rejected")
    assert job["error"]["provider"] == {
        "status": 400,
        "code": "OutputImageSensitiveContentDetected",
        "message": "output image may contain sensitive information",
    }
    assert (driven.sandbox.paid, driven.keys()) == ([], [])


@pytest.mark.parametrize("fault", ["500_after", "reset_after"])
async def test_an_unclear_answer_ends_the_job_at_once_for_no_callback_will_tell(driven: Driven, fault: str) -> None:
    job = await driven.submit(**seedream(f"a lighthouse [fault:{fault}]"))
    await submit(driven.context, uuid(job))
    await driven.context.calls.wait()
    job = await driven.job(job)
    assert (job["status"], job["error"]["code"]) == ("failed", "submit_unknown")
    assert len(driven.sandbox.paid) == 1


async def test_an_unclear_answer_is_sent_again_if_the_job_asked_for_that(driven: Driven) -> None:
    job = await driven.submit(**seedream("a lighthouse [fault:500_after]", on_unclear="resubmit"))
    job = await driven.drive(job)
    assert (job["status"], job["error"]["code"]) == ("failed", "submit_unknown")
    assert len(driven.sandbox.paid) == 5


async def test_a_call_of_a_dead_worker_ends_as_submit_unknown(driven: Driven) -> None:
    job = await driven.submit(**seedream("a lighthouse [fault:held]"))
    await submit(driven.context, uuid(job))
    await reached(driven)
    other = replace(driven.context, calls=Calls(), pulse=steady())
    await driven.sql("UPDATE workers SET seen_at = seen_at - interval '40 seconds'")
    await driven.sql("UPDATE attempts SET started_at = started_at - interval '40 seconds'")
    await driven.make_due(job)
    await submit(other, uuid(job))
    job = await driven.job(job)
    assert (job["status"], job["error"]["code"]) == ("failed", "submit_unknown")
    await driven.context.calls.wait()
    assert (await driven.job(job))["status"] == "failed"


def steady() -> Pulse:
    """Return the pulse of a process that was never away."""
    pulse = Pulse(12)
    pulse.since -= 3600
    return pulse


async def test_a_call_is_not_taken_for_dead_by_who_was_away_itself_nor_by_who_carries_it(driven: Driven) -> None:
    job = await driven.submit(**seedream("a lighthouse [fault:held]", on_unclear="resubmit"))
    await submit(driven.context, uuid(job))
    task = await reached(driven)
    await driven.sql("UPDATE workers SET seen_at = seen_at - interval '1 hour'")
    await driven.sql("UPDATE attempts SET started_at = started_at - interval '5 minutes'")
    just_back = replace(driven.context, calls=Calls(), pulse=Pulse(12))
    for context in (just_back, driven.context):
        await driven.make_due(job)
        await submit(context, uuid(job))
        assert (await driven.job(job))["status"] == "submitting"
    driven.sandbox.release(task)
    await driven.context.calls.wait()
    assert (await driven.drive(job))["status"] == "succeeded"
    assert len(driven.sandbox.paid) == 1


async def test_an_answer_outlives_trouble_in_the_database(driven: Driven) -> None:
    job = await driven.submit(**seedream("a lighthouse [fault:held]"))
    await submit(driven.context, uuid(job))
    task = await reached(driven)
    # Every prepared statement that reads jobs is stale from now on.
    await driven.sql("ALTER TABLE jobs ADD COLUMN added_meanwhile text")
    driven.sandbox.release(task)
    await driven.context.calls.wait()
    assert (await driven.job(job))["status"] == "copying"


async def test_a_result_under_another_jobs_task_id_is_kept(driven: Driven) -> None:
    first = await driven.sent()
    async with driven.in_flight() as sending:
        answer = Finished(
            first["provider_task_id"], (Source(0, "image", f"{driven.sandbox_url}/test_data/image_01.jpeg"),)
        )
        await record_outcome(driven.context, await driven.row(sending), answer)
        job = await driven.job(sending)
        assert (job["status"], job["verified_by"], job["provider_task_id"]) == ("copying", "sync", None)
        assert len(job["outputs"]) == 1


async def test_a_call_whose_worker_lives_is_waited_for(driven: Driven) -> None:
    job = await driven.submit(**seedream("a lighthouse [fault:held]"))
    await submit(driven.context, uuid(job))
    task = await reached(driven)
    for _ in range(3):
        await driven.make_due(job)
        await submit(driven.context, uuid(job))
    assert (await driven.job(job))["status"] == "submitting"
    assert len(driven.sandbox.submits) == 1
    driven.sandbox.release(task)
    await driven.context.calls.wait()
    assert (await driven.job(job))["status"] == "copying"


async def test_outputs_that_came_inside_the_answer_outlive_a_failed_copy_and_retry_stores_them(driven: Driven) -> None:
    job = await driven.submit(**seedream("a lighthouse [fault:base64]"))
    await submit(driven.context, uuid(job))
    await driven.context.calls.wait()
    move = "UPDATE destinations SET spec = jsonb_set(spec, '{bucket}', to_jsonb($1::text))"
    await driven.sql(move, "no-such-bucket-anywhere")
    job = await driven.drive(job)
    assert (job["status"], job["error"]["code"]) == ("failed", "destination_denied")
    await driven.sql(move, driven.bucket)
    assert (await driven.retry(job)).status_code == 202
    job = await driven.drive(job)
    assert (job["status"], len(driven.keys()), len(driven.sandbox.paid)) == ("succeeded", 1, 1)
    assert await driven.sql("SELECT index FROM inline_outputs") == []


async def test_a_job_without_its_inline_file_says_so_and_can_be_sent_again(driven: Driven) -> None:
    job = await driven.submit(**seedream("a lighthouse [fault:base64]"))
    await submit(driven.context, uuid(job))
    await driven.context.calls.wait()
    await driven.sql("DELETE FROM inline_outputs")
    job = await driven.drive(job)
    assert (job["status"], job["error"]["code"]) == ("failed", "output_expired")
    assert (await driven.retry(job)).status_code == 409
    assert (await driven.retry(job, accept_second_charge=True)).status_code == 202
    assert (await driven.drive(job))["status"] == "succeeded"


async def test_a_call_is_finished_while_the_service_stops(database_url: str, s3_server: S3Server, bucket: str) -> None:
    async with running_world(database_url, s3_server, bucket) as world:
        job = await world.submit(**seedream("a lighthouse [fault:held]"))
        task = await reached(world)
        assert world.service.engine is not None
        stopping = asyncio.create_task(world.service.engine.stop())
        late = await world.submit(**seedream("a lighthouse, too late"))
        world.sandbox.release(task)
        await stopping
        assert (await world.job(job))["status"] == "copying"
        assert (await world.job(late))["status"] == "queued"
        assert len(world.sandbox.submits) == 1


async def test_a_call_goes_on_when_its_job_can_not_be_watched(driven: Driven) -> None:
    job = await driven.submit(**seedream("a lighthouse [fault:held]"))
    await submit(driven.context, uuid(job))
    task = await reached(driven)
    await driven.sql("ALTER TABLE jobs RENAME TO jobs_elsewhere")
    with capture_logs() as logs:
        await driven.sql("SELECT pg_notify('genrelay_feed', '0 ' || $1)", str(uuid(job)))

        async def noticed() -> bool:
            return any(line["event"] == "call.not_watched" for line in logs)

        await until(noticed)
    await driven.sql("ALTER TABLE jobs_elsewhere RENAME TO jobs")
    driven.sandbox.release(task)
    await driven.context.calls.wait()
    assert (await driven.job(job))["status"] == "copying"


async def test_nothing_is_under_way_any_more_once_the_service_has_stopped(
    database_url: str, s3_server: S3Server, bucket: str
) -> None:
    async with running_world(database_url, s3_server, bucket, GENRELAY_ENGINE__DRAIN_SECONDS="0.1") as world:
        job = await world.submit(**seedream("a lighthouse [fault:held]"))
        await reached(world)
        assert world.service.engine is not None
        await world.service.engine.stop()
        assert len(world.service.context.calls) == 0
        assert (await world.job(job))["status"] == "submitting"
