"""Deadlines: they end what waits for a provider, and don't interrupt a copy."""

from __future__ import annotations

from typing import Any

from service.engine.submit import submit
from tests.engine.driven import Driven, event, uuid


def _is_over(job: dict[str, Any]) -> bool:
    return bool(job["status"] == "failed" and job["error"]["code"] == "deadline_exceeded")


async def test_a_job_still_queued_at_its_deadline_is_never_sent(driven: Driven) -> None:
    job = await driven.submit(deadline_seconds=30)
    await driven.later(job, 31)
    await submit(driven.context, uuid(job))
    job = await driven.job(job)
    assert _is_over(job)
    assert driven.sandbox.submits == []
    assert await driven.types(job) == ["job.queued", "job.failed"]


async def test_an_unclear_submit_ends_at_the_deadline_when_that_comes_first(driven: Driven) -> None:
    job = await driven.sent("a lighthouse [fault:500_after] [fault:lost]", deadline_seconds=60)
    row = await driven.row(job)
    assert row.due_at == row.deadline_at
    job = await driven.drive(job)
    assert _is_over(job)
    # Nobody knows whether it ran, so the next run may cost a second time.
    answer = await driven.retry(job)
    assert (answer.status_code, answer.json()["code"]) == (409, "second_charge")


async def test_a_submit_in_flight_at_its_deadline_ends_and_its_answer_is_kept_for_the_retry(driven: Driven) -> None:
    async with driven.in_flight(deadline_seconds=30) as job:
        await driven.later(job, 31)
        await submit(driven.context, uuid(job))
        assert _is_over(await driven.job(job))
    assert _is_over(await driven.job(job))
    assert (await driven.retry(job)).status_code == 202
    assert (await driven.drive(job))["status"] == "succeeded"
    assert len(driven.sandbox.submits) == 1


async def test_a_running_job_ends_at_its_deadline(driven: Driven) -> None:
    job = await driven.sent("a lighthouse [fault:stuck]", deadline_seconds=30)
    await driven.later(job, 31)
    job = await driven.look_up(job)
    assert _is_over(job)
    assert "30 s" in job["error"]["message"]


async def test_a_poll_is_never_planned_for_after_the_deadline(driven: Driven) -> None:
    job = await driven.sent("a lighthouse [fault:stuck]", deadline_seconds=45)
    await driven.look_up(job)
    row = await driven.row(job)
    assert row.due_at is not None
    assert row.due_at <= row.deadline_at


async def test_a_test_job_whose_mock_never_comes_ends_at_its_deadline(driven: Driven) -> None:
    job = await driven.submit(test_mode={"enabled": True}, deadline_seconds=30)
    await submit(driven.context, uuid(job))
    # As if the mock had been lost on its way.
    await driven.sql("DELETE FROM callbacks")
    job = await driven.drive(job)
    assert _is_over(job)
    assert driven.sandbox.lookups.total() == 0


async def test_a_deadline_does_not_interrupt_a_copy(driven: Driven) -> None:
    job = await driven.copying(deadline_seconds=30)
    await driven.later(job, 3600)
    assert (await driven.copy(job))["status"] == "succeeded"


async def test_a_callback_after_the_deadline_is_late(driven: Driven) -> None:
    job = await driven.sent("a lighthouse [fault:stuck]", deadline_seconds=30)
    await driven.later(job, 31)
    job = await driven.look_up(job)
    await driven.post(job, event(job["provider_task_id"]))
    assert await driven.settle(job) == job
    assert await driven.verdicts(job) == ["late"]


async def test_a_retry_has_a_deadline_of_its_own(driven: Driven) -> None:
    job = await driven.sent("a lighthouse [fault:held]", deadline_seconds=30)
    await driven.later(job, 31)
    job = await driven.look_up(job)
    retried = (await driven.retry(job)).json()
    assert retried["deadline_at"] > job["deadline_at"]
    driven.sandbox.release(job["provider_task_id"])
    assert (await driven.drive(job))["status"] == "succeeded"
