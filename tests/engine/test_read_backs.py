"""Asking the provider: bounded, patient, and enough when no callback ever comes."""

from __future__ import annotations

import asyncio

import pytest

from service.engine.judge import look_up
from tests.engine.driven import Driven, uuid


async def _ended(driven: Driven, prompt: str) -> dict[str, object]:
    """Send a job whose callback is lost, and wait until its task has ended at the provider."""
    job = await driven.sent(f"{prompt} [fault:lost]")
    await driven.sandbox.tasks[job["provider_task_id"]].called_back.wait()
    return job


async def test_a_job_whose_callback_is_lost_is_polled_at_the_first_interval(driven: Driven) -> None:
    job = await _ended(driven, "a lighthouse")
    row = await driven.row(job)
    assert row.due_at is not None
    assert row.submitted_at is not None
    assert (row.due_at - row.submitted_at).total_seconds() == pytest.approx(30, abs=0.5)
    await look_up(driven.context, uuid(job))
    assert driven.lookups(job) == 0, "not before its time"
    job = await driven.drive(job)
    assert (job["status"], job["verified_by"], driven.lookups(job)) == ("succeeded", "readback", 1)
    assert await driven.verdicts(job) == []


async def test_polls_come_at_growing_intervals_up_to_the_longest(driven: Driven) -> None:
    job = await driven.sent("a lighthouse [fault:stuck]", deadline_seconds=86_400)
    waits = []
    for _ in range(7):
        await driven.look_up(job)
        row = await driven.row(job)
        [clock] = await driven.sql("SELECT now()")
        assert row.due_at is not None
        waits.append((row.due_at - clock["now"]).total_seconds())
    assert waits[0] == pytest.approx(54, abs=7)
    assert all(240 * 0.99 < wait <= 300 for wait in waits[-3:])
    assert max(waits) <= 300


async def test_two_polls_at_once_ask_once(driven: Driven) -> None:
    job = await driven.sent("a lighthouse [fault:stuck]")
    await driven.make_due(job)
    await asyncio.gather(*(look_up(driven.context, uuid(job)) for _ in range(6)))
    assert driven.lookups(job) == 1


async def test_a_changed_status_is_told_once(driven: Driven) -> None:
    job = await driven.sent("a lighthouse [fault:stuck] [fault:queued]")
    for _ in range(3):
        job = await driven.look_up(job)
    assert (job["status"], job["provider_status"]) == ("running", "TASK_STATUS_QUEUED")
    assert await driven.types(job) == ["job.queued", "job.submitted", "job.progress"]


async def test_a_status_nobody_knows_is_still_running(driven: Driven) -> None:
    job = await driven.sent("a lighthouse [fault:stuck] [fault:unknown_status]")
    assert (await driven.look_up(job))["status"] == "running"


@pytest.mark.parametrize(
    "fault", ["lookup_500=4", "not_found=4", "lookup_429=4", "lookup_foreign=4", "no_outputs_once=3"]
)
async def test_trouble_with_the_read_back_passes(driven: Driven, fault: str) -> None:
    job = await driven.drive(await _ended(driven, f"a lighthouse [fault:{fault}]"))
    assert job["status"] == "succeeded"
    assert driven.lookups(job) == int(fault[-1]) + 1
    assert len(driven.keys()) == 1


async def test_a_callback_whose_read_back_fails_gets_its_verdict_from_a_later_one(driven: Driven) -> None:
    job = await driven.called_back("a lighthouse [fault:lookup_500=2]")
    job = await driven.settle(job)
    assert (job["status"], await driven.verdicts(job)) == ("running", [None])
    row = await driven.row(job)
    [clock] = await driven.sql("SELECT now()")
    assert row.due_at is not None
    assert (row.due_at - clock["now"]).total_seconds() <= 10, "outputs don't live long, so it is asked again soon"
    job = await driven.drive(job)
    assert (job["status"], await driven.verdicts(job)) == ("succeeded", ["confirmed"])


async def test_a_task_the_provider_never_knows_ends_after_a_bounded_number_of_questions(driven: Driven) -> None:
    job = await driven.drive(await _ended(driven, "a lighthouse [fault:not_found=999]"))
    assert (job["status"], job["error"]["code"]) == ("failed", "provider_failed")
    assert driven.lookups(job) == 10
    # The provider took it and lost it: whether it was charged nobody knows.
    answer = await driven.retry(job)
    assert (answer.status_code, answer.json()["code"]) == (409, "second_charge")


async def test_success_without_outputs_ends_after_a_bounded_number_of_questions(driven: Driven) -> None:
    job = await driven.drive(await driven.called_back("a lighthouse [fault:no_outputs]"))
    assert (job["status"], job["error"]["code"]) == ("failed", "no_outputs")
    assert driven.lookups(job) == 5
    assert await driven.verdicts(job) == ["confirmed"]


async def test_a_provider_that_never_answers_is_asked_until_the_deadline_and_not_all_the_time(driven: Driven) -> None:
    job = await driven.drive(await driven.sent("a lighthouse [fault:lookup_500=9999]", deadline_seconds=3600))
    assert (job["status"], job["error"]["code"]) == ("failed", "deadline_exceeded")
    assert 10 < driven.lookups(job) < 40


async def test_retry_after_of_a_read_back_is_obeyed(driven: Driven) -> None:
    job = await _ended(driven, "a lighthouse [fault:lookup_429=1, retry_after=60]")
    await driven.look_up(job)
    row = await driven.row(job)
    [clock] = await driven.sql("SELECT now()")
    assert row.due_at is not None
    assert (row.due_at - clock["now"]).total_seconds() == pytest.approx(60, abs=1)


async def test_a_429_to_one_look_up_keeps_all_others_of_that_provider_back_for_the_told_time(driven: Driven) -> None:
    told = await driven.sent("a lighthouse [fault:stuck] [fault:lookup_429=1, retry_after=60]")
    other = await driven.sent("a harbour [fault:stuck]")
    await driven.look_up(told)
    await driven.sql("UPDATE jobs SET due_at = now() WHERE id = $1", uuid(other))
    await look_up(driven.context, uuid(other))
    assert (driven.lookups(told), driven.lookups(other)) == (1, 0)
    assert 50 < driven.context.gates.look_ups("novita").opens_in <= 60
    driven.pass_time(60)
    await driven.look_up(other)
    assert driven.lookups(other) == 1
