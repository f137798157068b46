"""Sending a job: once, and never a second time unless the first is proven not to have run."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from service.engine.judge import settle
from service.engine.submit import submit
from tests.engine.driven import Driven, driven_world, event, uuid
from tests.engine.test_modelslab_jobs import modelslab
from tests.world import free_port

UNCLEAR = "a lighthouse [fault:500_after]"


async def test_a_job_is_sent_once_however_many_tasks_say_so(driven: Driven) -> None:
    job = await driven.submit("a lighthouse [fault:held]")
    await asyncio.gather(*(submit(driven.context, uuid(job)) for _ in range(5)))
    await submit(driven.context, uuid(job))
    assert len(driven.sandbox.submits) == 1
    assert (await driven.job(job))["status"] == "running"


async def test_the_intent_is_committed_before_anything_is_sent(driven: Driven) -> None:
    async with driven.in_flight() as job:
        row = await driven.row(job)
        [attempt] = await driven.sql("SELECT number, run, outcome FROM attempts WHERE job_id = $1", uuid(job))
    assert (row.status, row.submit_state, row.attempt) == ("submitting", "in_flight", 1)
    assert (attempt["number"], attempt["run"], attempt["outcome"]) == (1, 1, None)


async def test_a_worker_that_comes_too_late_after_its_intent_sends_nothing(driven: Driven) -> None:
    settings = driven.context.settings
    slow = settings.model_copy(update={"submit": settings.submit.model_copy(update={"window_seconds": 1e-9})})
    job = await driven.submit()
    await submit(replace(driven.context, settings=slow), uuid(job))
    job = await driven.job(job)
    assert (job["status"], driven.sandbox.submits) == ("queued", [])
    assert (await driven.drive(job))["status"] == "succeeded"
    assert len(driven.sandbox.paid) == 1


async def test_an_unclear_submit_is_settled_by_a_callback_whose_task_the_provider_says_is_ours(driven: Driven) -> None:
    job = await driven.called_back(UNCLEAR)
    assert (await driven.row(job)).submit_state == "unclear"
    job = await driven.settle(job)
    assert (job["status"], job["provider_task_id"]) == ("copying", driven.sandbox.submits[0].task_id)
    assert await driven.verdicts(job) == ["confirmed"]
    assert (await driven.types(job))[:4] == ["job.queued", "job.submitted", "job.callback", "job.copying"]
    assert (await driven.drive(job))["status"] == "succeeded"
    assert len(driven.sandbox.paid) == 1


async def test_a_reset_after_sending_is_unclear_and_settled_alike(driven: Driven) -> None:
    job = await driven.drive(await driven.called_back("a lighthouse [fault:reset_after]"))
    assert job["status"] == "succeeded"
    assert len(driven.sandbox.paid) == 1


async def test_without_the_providers_echo_a_named_task_is_not_adopted(driven: Driven) -> None:
    job = await driven.called_back(f"{UNCLEAR} [fault:no_echo]")
    job = await driven.settle(job)
    assert (job["status"], job["provider_task_id"]) == ("submitting", None)
    assert await driven.verdicts(job) == ["unproven"]
    row = await driven.row(job)
    [clock] = await driven.sql("SELECT now()")
    assert row.due_at is not None
    assert 590 < (row.due_at - clock["now"]).total_seconds() <= 600
    job = await driven.drive(job)
    assert (job["status"], job["error"]["code"]) == ("failed", "submit_unknown")
    assert "accept_second_charge" in job["error"]["hint"]
    assert len(driven.sandbox.submits) == 1


async def test_a_task_of_somebody_else_is_not_adopted(driven: Driven) -> None:
    other = await driven.sent("a harbour [fault:stuck]")
    job = await driven.sent(f"{UNCLEAR} [fault:lost]")
    await driven.post(job, event(other["provider_task_id"]))
    job = await driven.settle(job)
    assert (job["status"], job["provider_task_id"]) == ("submitting", None)
    assert await driven.verdicts(job) == ["foreign"]


async def test_a_foreign_callback_does_not_spoil_the_genuine_one_of_an_unclear_submit(driven: Driven) -> None:
    await driven.sent("a harbour [fault:stuck]")
    job = await driven.sent(f"{UNCLEAR} [fault:foreign]")
    await driven.wait_for_callbacks(job, 2)
    for _ in range(3):
        job = await driven.settle(job)
        await driven.later(job, 10)
    assert job["status"] == "copying"
    assert await driven.verdicts(job) == ["foreign", "confirmed"]


async def test_a_callback_that_comes_while_the_provider_is_silent_is_looked_at_again(driven: Driven) -> None:
    job = await driven.called_back(f"{UNCLEAR} [fault:lookup_500]")
    job = await driven.settle(job)
    assert (job["status"], await driven.verdicts(job)) == ("submitting", [None])
    [task] = await driven.sql("SELECT max(execute_after - now()) AS wait FROM pgqueuer WHERE entrypoint = 'settle'")
    assert 8 < task["wait"].total_seconds() <= 10.1
    await driven.later(job, 10)
    assert (await driven.settle(job))["status"] == "copying"


async def test_the_unknown_time_does_not_run_out_over_a_callback_that_is_here(driven: Driven) -> None:
    job = await driven.called_back(f"{UNCLEAR} [fault:lookup_500]", on_unclear="resubmit")
    await driven.settle(job)
    await driven.later(job, 601)
    await submit(driven.context, uuid(job))
    assert (await driven.row(job)).submit_state == "unclear"
    assert (await driven.settle(job))["status"] == "copying"
    assert len(driven.sandbox.paid) == 1


async def test_a_task_that_the_provider_does_not_know_yet_is_asked_for_again(driven: Driven) -> None:
    job = await driven.called_back(f"{UNCLEAR} [fault:not_found]")
    await driven.settle(job)
    await driven.later(job, 10)
    job = await driven.settle(job)
    assert (job["status"], await driven.verdicts(job)) == ("copying", ["confirmed"])


async def test_garbage_for_an_unclear_submit_leaves_it_waiting(driven: Driven) -> None:
    job = await driven.sent(f"{UNCLEAR} [fault:lost]")
    for body in (b"", b"\x00", b"garbage", event(None), event("a-task-nobody-has")):
        await driven.post(job, body)
    job = await driven.settle(job)
    assert job["status"] == "submitting"
    assert (await driven.verdicts(job))[:4] == ["malformed"] * 4


@pytest.mark.parametrize("given", [{}, modelslab(f"{UNCLEAR} [fault:lost]")], ids=["novita", "modelslab"])
async def test_however_many_tasks_callbacks_name_there_is_one_read_back_in_ten_seconds(
    driven: Driven, given: dict[str, Any]
) -> None:
    job = await driven.sent(f"{UNCLEAR} [fault:lost]", **given)
    for number in range(6):
        await driven.post(job, event(f"guess-{number}", provider=job["provider"]))
        await driven.settle(job)
    assert driven.sandbox.lookups.total() == 1
    await driven.later(job, 10)
    for _ in range(3):
        await driven.settle(job)
    assert driven.sandbox.lookups.total() == 2
    assert (await driven.row(job)).provider_task_id is None


async def test_an_unclear_submit_is_sent_again_when_the_job_asked_for_that(driven: Driven) -> None:
    job = await driven.sent(f"{UNCLEAR} [fault:no_echo] [fault:lost]", on_unclear="resubmit")
    assert len(driven.sandbox.submits) == 1
    await driven.step(job)  # the unknown time is over
    assert (await driven.row(job)).status == "queued"
    await driven.step(job)
    assert len(driven.sandbox.submits) == 2
    job = await driven.drive(job)
    assert (job["status"], job["error"]["code"]) == ("failed", "submit_unknown")
    assert len(driven.sandbox.submits) == 5, "not for ever"


async def test_the_answer_of_a_slow_submit_counts_although_it_was_taken_for_unclear(driven: Driven) -> None:
    async with driven.in_flight() as job:
        await driven.sql("UPDATE workers SET seen_at = now() - interval '1 minute'")
        await driven.sql("UPDATE attempts SET started_at = now() - interval '1 minute'")
        await driven.make_due(job)
        await submit(driven.context, uuid(job))
        assert (await driven.row(job)).submit_state == "unclear"
    assert (await driven.drive(job))["status"] == "succeeded"
    assert len(driven.sandbox.submits) == 1


async def test_a_submit_whose_worker_lives_is_left_to_it(driven: Driven) -> None:
    async with driven.in_flight() as job:
        await driven.make_due(job)
        await submit(driven.context, uuid(job))
        assert (await driven.row(job)).submit_state == "in_flight"


async def test_a_submit_whose_task_was_lost_does_not_stay_in_flight_because_its_worker_lives(driven: Driven) -> None:
    async with driven.in_flight() as job:
        await driven.sql("UPDATE attempts SET started_at = started_at - interval '5 minutes'")
        await driven.make_due(job)
        await submit(driven.context, uuid(job))
        assert (await driven.row(job)).submit_state == "unclear"


async def test_a_429_is_obeyed_and_the_job_succeeds(driven: Driven) -> None:
    job = await driven.sent("a lighthouse [fault:429, retry_after=7]")
    row = await driven.row(job)
    [clock] = await driven.sql("SELECT now()")
    assert row.due_at is not None
    assert (row.status, row.tries) == ("queued", 1)
    assert 5 < (row.due_at - clock["now"]).total_seconds() <= 7.1  # a moment more, so that its gate is open again
    await submit(driven.context, uuid(job))
    assert driven.sandbox.refused.total() == 1, "not before its time"
    assert (await driven.drive(job))["status"] == "succeeded"
    [first, second] = await driven.sql("SELECT * FROM attempts WHERE job_id = $1 ORDER BY number", uuid(job))
    assert (first["outcome"], second["outcome"]) == ("not_run", "accepted")
    assert first["note"].startswith("HTTP 429")


async def test_a_429_that_says_at_once_makes_no_loop(driven: Driven) -> None:
    job = await driven.sent("a lighthouse [fault:429=9, retry_after=0]")
    for _ in range(4):
        await driven.make_due(job)
        await submit(driven.context, uuid(job))
    row = await driven.row(job)
    [clock] = await driven.sql("SELECT now()")
    assert row.due_at is not None
    assert row.tries == 5
    assert (row.due_at - clock["now"]).total_seconds() > 5


async def test_429s_are_not_counted_as_a_provider_that_cant_be_reached(driven: Driven) -> None:
    job = await driven.sent("a lighthouse [fault:429=25] [fault:500_after] [fault:lost]", on_unclear="resubmit")
    for _ in range(25):
        await driven.make_due(job)
        await submit(driven.context, uuid(job))
    row = await driven.row(job)
    assert (row.status, row.submit_state) == ("submitting", "unclear")
    await driven.make_due(job)
    await submit(driven.context, uuid(job))
    assert (await driven.row(job)).status == "queued", (
        "a first unclear submit is sent again, however many 429s there were"
    )


async def test_a_429_without_a_time_waits_two_seconds_at_most(driven: Driven) -> None:
    job = await driven.sent("a lighthouse [fault:429]")
    row = await driven.row(job)
    [clock] = await driven.sql("SELECT now()")
    assert row.due_at is not None
    assert (row.due_at - clock["now"]).total_seconds() <= 2


async def test_a_429_for_ever_ends_at_the_deadline(driven: Driven) -> None:
    job = await driven.drive(await driven.submit("a lighthouse [fault:429=999]", deadline_seconds=30))
    assert (job["status"], job["error"]["code"]) == ("failed", "deadline_exceeded")
    assert driven.sandbox.submits == []
    assert driven.sandbox.refused.total() > 3


async def test_a_refused_connection_is_tried_again_and_given_up_in_the_end(
    database_url: str, s3_server: object, bucket: str
) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    more = {"GENRELAY_PROVIDERS__NOVITA__BASE_URL": nobody, "GENRELAY_SUBMIT__MAX_ATTEMPTS": "3"}
    async with driven_world(database_url, s3_server, bucket, **more) as driven:  # type: ignore[arg-type]
        job = await driven.sent()
        assert job["status"] == "queued"
        job = await driven.drive(job)
        assert (job["status"], job["error"]["code"]) == ("failed", "provider_unavailable")
        rows = await driven.sql("SELECT outcome FROM attempts WHERE job_id = $1", uuid(job))
        assert [row["outcome"] for row in rows] == ["not_run"] * 3
        # Nothing was sent, so the next run needs nobody's consent.
        assert (await driven.retry(job)).status_code == 202


async def test_a_rejection_ends_the_job_with_the_providers_words(driven: Driven) -> None:
    job = await driven.sent("a lighthouse [fault:400]")
    assert (job["status"], job["verified_by"]) == ("failed", "sync")
    assert job["error"]["code"] == "provider_rejected"
    assert job["error"]["provider"] == {
        "status": 400,
        "code": "ILLEGAL_PROMPT",
        "message": "the prompt is not allowed",
    }
    assert await driven.types(job) == ["job.queued", "job.failed"]


async def test_a_proxys_page_says_nothing_about_the_task(driven: Driven) -> None:
    job = await driven.sent("a lighthouse [fault:403_html]")
    assert (await driven.row(job)).submit_state == "unclear"


async def test_a_test_submit_whose_answer_is_unclear_is_simply_sent_again(driven: Driven) -> None:
    job = await driven.submit("a lighthouse [fault:500_before]", test_mode={"enabled": True})
    job = await driven.drive(job)
    assert (job["status"], job["error"]["code"]) == ("failed", "provider_unavailable")
    assert (await driven.row(job)).attempt > 1


async def test_both_envelopes_of_the_submits_answer_are_understood(driven: Driven) -> None:
    job = await driven.sent("a lighthouse [fault:v2_envelope]")
    assert (job["status"], job["provider_task_id"]) == ("running", driven.sandbox.submits[0].task_id)


async def test_a_cancel_while_the_submit_is_in_flight_stays_one_and_the_task_id_is_kept(driven: Driven) -> None:
    async with driven.in_flight() as job:
        canceled = await driven.cancel(job)
    assert await driven.job(job) == canceled
    assert (await driven.retry(job)).json()["provider_task_id"] == driven.sandbox.submits[0].task_id
    assert (await driven.drive(job))["status"] == "succeeded"
    assert len(driven.sandbox.submits) == 1


async def test_settling_an_unknown_job_does_nothing(driven: Driven) -> None:
    job = await driven.submit()
    await driven.post({"id": "job_00000000000000000000000000"}, event("x"))
    await settle(driven.context, uuid({"id": "job_00000000000000000000000000"}))
    assert (await driven.job(job))["status"] == "queued"
