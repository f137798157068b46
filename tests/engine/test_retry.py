"""The next run: it begins as far along as the last one came, and never pays a second time without being told to."""

from __future__ import annotations

import asyncio
from typing import Any

from service.engine.housekeeping import keep_house
from service.engine.submit import submit
from tests.engine.driven import Driven, event, uuid
from tests.world import destination


async def _run_again(driven: Driven, job: dict[str, Any], **body: Any) -> dict[str, Any]:
    answer = await driven.retry(job, **body)
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    return await driven.drive(job)


async def test_a_failed_task_is_sent_anew_and_pays_anew(driven: Driven) -> None:
    job = await driven.drive(await driven.submit("a lighthouse [fault:failed=1]"))
    assert job["error"]["code"] == "provider_failed"
    again = await _run_again(driven, job)
    assert (again["status"], again["run"], again["error"]) == ("succeeded", 2, None)
    assert again["provider_task_id"] != job["provider_task_id"]
    assert len(driven.sandbox.paid) == 2


async def test_a_rejected_job_is_sent_anew(driven: Driven) -> None:
    job = await driven.sent("a lighthouse [fault:400]")
    again = await _run_again(driven, job)
    assert (again["status"], again["error"]["code"]) == ("failed", "provider_rejected")
    assert (await driven.row(job)).attempt == 2


async def test_success_without_outputs_is_sent_anew(driven: Driven) -> None:
    job = await driven.drive(await driven.called_back("a lighthouse [fault:no_outputs]"))
    await _run_again(driven, job)
    assert len(driven.sandbox.paid) == 2


async def test_a_job_canceled_before_it_was_sent_is_sent_once(driven: Driven) -> None:
    job = await driven.cancel(await driven.submit())
    again = await _run_again(driven, job)
    assert (again["status"], again["run"]) == ("succeeded", 2)
    assert len(driven.sandbox.paid) == 1


async def test_a_job_canceled_while_it_ran_goes_on_with_its_task(driven: Driven) -> None:
    job = await driven.cancel(await driven.called_back())
    again = await _run_again(driven, job)
    assert (again["status"], again["provider_task_id"]) == ("succeeded", job["provider_task_id"])
    assert len(driven.sandbox.paid) == 1


async def test_a_job_past_its_deadline_goes_on_with_its_task(driven: Driven) -> None:
    job = await driven.sent("a lighthouse [fault:held]", deadline_seconds=30)
    await driven.later(job, 31)
    await driven.look_up(job)
    driven.sandbox.release(job["provider_task_id"])
    assert (await _run_again(driven, job))["status"] == "succeeded"
    assert len(driven.sandbox.paid) == 1


async def test_a_copy_that_was_broken_off_goes_on_with_what_is_missing(driven: Driven) -> None:
    job = await driven.copying("a lighthouse [fault:more_images]")
    [row] = await driven.sql("SELECT source_url FROM outputs WHERE index = 1")
    await driven.sql("UPDATE outputs SET source_url = 'http://10.0.0.1/' WHERE index = 1")
    failed = await driven.copy(job)
    assert (failed["status"], failed["error"]["code"]) == ("failed", "output_rejected")
    assert [output["status"] for output in failed["outputs"]] == ["stored", "pending"]
    await driven.sql("UPDATE outputs SET source_url = $1 WHERE index = 1", row["source_url"])
    again = await _run_again(driven, failed)
    assert again["status"] == "succeeded"
    assert again["outputs"][0] == failed["outputs"][0]
    assert (len(driven.keys()), len(driven.sandbox.paid), driven.lookups(job)) == (2, 1, 1)
    assert (await driven.types(job)).count("output.stored") == 2


async def test_an_unknown_submit_asks_for_consent_to_a_second_charge(driven: Driven) -> None:
    job = await driven.drive(await driven.sent("a lighthouse [fault:500_after] [fault:lost]"))
    assert job["error"]["code"] == "submit_unknown"
    refused = await driven.retry(job)
    assert (refused.status_code, refused.json()["code"]) == (409, "second_charge")
    assert (await driven.retry(job, accept_second_charge=False)).status_code == 409
    assert await driven.job(job) == job
    assert len(driven.sandbox.paid) == 1
    await _run_again(driven, job, accept_second_charge=True)
    assert len(driven.sandbox.paid) == 2


async def test_a_bucket_that_refused_us_is_tried_again_once_it_is_put_right(driven: Driven) -> None:
    wrong = destination(driven.s3, driven.bucket)
    wrong["auth"]["secret_access_key"] = "not-the-right-one"
    assert (await driven.client.put("/v1/destinations/acme?check=false", json=wrong)).status_code == 200
    job = await driven.copy(await driven.copying())
    assert (job["status"], job["error"]["code"]) == ("failed", "destination_denied")
    assert driven.keys() == []
    await driven.client.put("/v1/destinations/acme?check=false", json=destination(driven.s3, driven.bucket))
    again = await _run_again(driven, job)
    assert again["status"] == "succeeded"
    assert (len(driven.sandbox.paid), driven.lookups(job)) == (1, 1)


async def test_a_job_that_is_open_or_has_succeeded_is_not_retried(driven: Driven) -> None:
    job = await driven.submit()
    assert (await driven.retry(job)).json()["code"] == "not_retryable"
    done = await driven.drive(job)
    answer = await driven.retry(job)
    assert (answer.status_code, answer.json()["code"]) == (409, "not_retryable")
    assert await driven.job(job) == done


async def test_a_job_whose_input_is_gone_says_so(driven: Driven) -> None:
    job = await driven.sent("a lighthouse [fault:400]")
    await driven.sql("UPDATE job_inputs SET purge_at = now() - interval '1 second'")
    await keep_house(driven.context)
    assert (await driven.retry(job)).json()["code"] == "input_gone"


async def test_inputs_are_kept_for_a_retry_and_go_when_the_job_has_succeeded(driven: Driven) -> None:
    failed, done = await driven.sent("a lighthouse [fault:400]"), await driven.drive(await driven.submit())
    kept = await driven.sql("SELECT job_id, purge_at FROM job_inputs")
    assert [row["job_id"] for row in kept] == [uuid(failed)]
    assert kept[0]["purge_at"] is not None
    await driven.retry(failed)
    [row] = await driven.sql("SELECT purge_at FROM job_inputs")
    assert row["purge_at"] is None
    assert done["status"] == "succeeded"


async def test_two_retries_at_once_begin_one_run(driven: Driven) -> None:
    job = await driven.cancel(await driven.submit())
    answers = await asyncio.gather(*(driven.retry(job) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [202, 409, 409, 409, 409]
    assert (await driven.drive(job))["run"] == 2
    assert len(driven.sandbox.paid) == 1


async def test_a_callback_of_the_first_run_does_not_move_the_second(driven: Driven) -> None:
    # The second run's own callback would move it, and might come first.
    job = await driven.drive(await driven.submit("a lighthouse [fault:failed=1] [fault:lost]"))
    await driven.retry(job)
    await driven.step(job)
    before = await driven.job(job)
    await driven.post(job, event(job["provider_task_id"], "TASK_STATUS_SUCCEED", of="the first run"), attempt=1)
    after = await driven.settle(job)
    assert after["status"] == before["status"]
    assert "superseded" in await driven.verdicts(job)


async def test_events_go_on_counting_and_every_run_ends_with_one_of_its_own(driven: Driven) -> None:
    job = await driven.drive(await driven.submit("a lighthouse [fault:failed=2]"))
    for _ in range(2):
        job = await _run_again(driven, job)
    assert (job["status"], job["run"]) == ("succeeded", 3)
    events = await driven.events(job)
    assert [event["data"]["sequence"] for event in events] == list(range(1, len(events) + 1))
    runs = [event["data"]["job"]["run"] for event in events]
    assert runs == sorted(runs)
    ends = [e["type"] for e in events if e["type"] in {"job.failed", "job.succeeded"}]
    assert ends == ["job.failed", "job.failed", "job.succeeded"]
    assert events[-1]["type"] == "job.succeeded"


async def test_a_test_job_is_retried_without_consent_because_it_is_free(driven: Driven) -> None:
    mode = {"enabled": True, "return_task_status": "TASK_STATUS_FAILED"}
    job = await driven.drive(await driven.submit(test_mode=mode))
    again = await _run_again(driven, job)
    assert (again["status"], again["run"], driven.sandbox.paid) == ("failed", 2, [])


async def test_a_strangers_job_is_neither_retried_nor_canceled(driven: Driven) -> None:
    job = await driven.cancel(await driven.submit())
    for action in ("retry", "cancel"):
        assert (await driven.stranger.post(f"/v1/jobs/{job['id']}/{action}")).status_code == 404
    assert await driven.job(job) == job


async def test_canceling_twice_changes_nothing_and_an_ended_job_is_not_canceled(driven: Driven) -> None:
    job = await driven.cancel(await driven.submit())
    assert await driven.cancel(job) == job
    done = await driven.sent("a lighthouse [fault:400]")
    answer = await driven.client.post(f"/v1/jobs/{done['id']}/cancel")
    assert (answer.status_code, answer.json()["code"]) == (409, "already_ended")


async def test_an_input_that_is_gone_when_the_job_is_sent_is_no_matter_of_a_second_charge(driven: Driven) -> None:
    job = await driven.submit()
    await driven.sql("DELETE FROM job_inputs WHERE job_id = $1", uuid(job))
    job = await driven.drive(job)
    assert (job["status"], job["error"]["code"]) == ("failed", "provider_unavailable")
    answer = await driven.retry(job)
    assert (answer.status_code, answer.json()["code"]) == (409, "input_gone")
    assert driven.sandbox.submits == []


async def test_a_task_of_an_earlier_run_is_not_gone_on_with_once_another_run_was_begun(driven: Driven) -> None:
    job = await driven.drive(await driven.submit("a lighthouse [fault:failed=1]"))
    assert (await driven.retry(job)).status_code == 202
    job = await driven.cancel(job)
    again = await _run_again(driven, job)
    assert (again["status"], again["run"]) == ("succeeded", 3)
    assert len(driven.sandbox.paid) == 2


async def test_a_late_answer_that_names_another_jobs_task_is_not_gone_on_with(driven: Driven) -> None:
    other = await driven.sent("a lighthouse [fault:stuck]")
    async with driven.in_flight() as job:
        await driven.cancel(job)
    await driven.sql("UPDATE attempts SET task_id = $1 WHERE job_id = $2", other["provider_task_id"], uuid(job))
    assert (await driven.retry(job)).status_code == 202
    assert (await driven.row(job)).status == "queued"


async def test_the_first_callback_of_the_next_run_is_judged_at_once(driven: Driven) -> None:
    job = await driven.called_back("a lighthouse [fault:failed=1]")
    job = await driven.settle(job)
    assert job["status"] == "failed"
    assert (await driven.retry(job)).status_code == 202
    await submit(driven.context, uuid(job))
    await driven.wait_for_callbacks(job, 2)
    assert (await driven.settle(job))["status"] == "copying"
