"""What becomes of callbacks: the provider's own word counts, and each callback gets its verdict."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from service.engine.judge import settle
from service.engine.submit import submit
from tests.engine.driven import Driven, event, uuid

LIES = [
    ("forged", "contradicted"),
    ("forged_failure", "contradicted"),
    ("foreign", "foreign"),
    ("malformed", "malformed"),
    ("unknown_event", "unknown_event"),
]


async def test_a_job_is_judged_by_the_read_back_its_callback_asks_for(driven: Driven) -> None:
    job = await driven.called_back()
    job = await driven.settle(job)
    assert (job["status"], job["verified_by"]) == ("copying", "readback")
    assert await driven.verdicts(job) == ["confirmed"]
    assert driven.lookups(job) == 1


async def test_duplicates_are_read_back_once_and_told_of_once(driven: Driven) -> None:
    job = await driven.sent("a lighthouse [fault:duplicated]")
    await driven.wait_for_callbacks(job, 3)
    job = await driven.settle(job)
    assert driven.lookups(job) == 1
    assert sorted(map(str, await driven.verdicts(job))) == ["confirmed", "duplicate", "duplicate"]
    assert (await driven.types(job)).count("job.callback") == 1
    assert (await driven.drive(job))["status"] == "succeeded"


async def test_a_duplicate_during_the_copy_changes_nothing(driven: Driven) -> None:
    job = await driven.copying()
    before = await driven.row(job)
    body = driven.sandbox.callbacks_sent[-1].body
    await driven.post(job, body)
    await driven.settle(job)
    assert await driven.verdicts(job) == ["confirmed", "duplicate"]
    assert (await driven.row(job)).version == before.version
    assert driven.lookups(job) == 1


@pytest.mark.parametrize("end", ["succeeded", "failed", "canceled"])
async def test_a_late_callback_leaves_an_ended_job_as_it_is(driven: Driven, end: str) -> None:
    job = await driven.sent("a lighthouse [fault:held]" if end == "canceled" else f"a lighthouse {_fault(end)}")
    job = await (driven.cancel(job) if end == "canceled" else driven.drive(job))
    assert job["status"] == end
    asked, events = driven.lookups(job), await driven.events(job)
    for status in ("TASK_STATUS_SUCCEED", "TASK_STATUS_FAILED"):
        await driven.post(job, event(job["provider_task_id"], status))
    assert await driven.settle(job) == job
    assert (await driven.verdicts(job))[-2:] == ["late", "late"]
    assert await driven.events(job) == events
    assert driven.lookups(job) == asked


def _fault(end: str) -> str:
    return "[fault:failed]" if end == "failed" else ""


async def test_a_callback_before_the_submits_answer_waits_for_it(driven: Driven) -> None:
    job = await driven.submit("a lighthouse [fault:early=0.2]")
    sending = asyncio.create_task(submit(driven.context, uuid(job)))
    await driven.wait_for_callbacks(job)
    parked = await driven.settle(job)
    assert (parked["status"], await driven.verdicts(job)) == ("submitting", [None])
    await sending
    [queued] = await driven.sql("SELECT count(*) FROM pgqueuer WHERE entrypoint = 'settle'")
    assert queued["count"] >= 2, "the answer wakes up who judges what came before it"
    job = await driven.settle(job)
    assert (job["status"], await driven.verdicts(job)) == ("copying", ["confirmed"])


@pytest.mark.parametrize(("lie", "verdict"), LIES)
async def test_a_lie_is_seen_through_and_the_truth_wins(driven: Driven, lie: str, verdict: str) -> None:
    job = await driven.called_back(f"a lighthouse [fault:{lie}] [fault:held]")
    job = await driven.settle(job)
    assert job["status"] == "running"
    assert await driven.verdicts(job) == [verdict]
    told = [e["data"]["callback"]["verdict"] for e in await driven.events(job) if e["type"] == "job.callback"]
    assert told == [verdict]
    driven.sandbox.release(job["provider_task_id"])
    await driven.wait_for_callbacks(job, 2)
    await driven.later(job, 10)
    job = await driven.drive(job)
    assert (job["status"], job["verified_by"]) == ("succeeded", "readback")
    assert await driven.verdicts(job) == [verdict, "confirmed"]
    assert len(driven.keys()) == 1


async def test_urls_come_from_the_provider_and_never_from_a_callback(driven: Driven) -> None:
    job = await driven.sent("a lighthouse [fault:forged]")
    await driven.wait_for_callbacks(job, 2)
    job = await driven.settle(job)
    [row] = await driven.sql("SELECT source_url FROM outputs WHERE job_id = $1", uuid(job))
    assert row["source_url"].startswith(driven.sandbox_url + "/prod/")


@pytest.mark.parametrize("fault", ["", "[fault:failed]"])
@pytest.mark.parametrize("claim", ["TASK_STATUS_SUCCEED", "TASK_STATUS_FAILED"])
async def test_the_state_is_the_providers_whatever_is_claimed(driven: Driven, fault: str, claim: str) -> None:
    job = await driven.sent(f"a lighthouse [fault:lost] {fault}")
    await driven.sandbox.tasks[job["provider_task_id"]].called_back.wait()
    await driven.post(job, event(job["provider_task_id"], claim))
    job = await driven.settle(job)
    assert job["status"] == ("failed" if fault else "copying")
    agrees = (claim == "TASK_STATUS_FAILED") == bool(fault)
    assert await driven.verdicts(job) == ["confirmed" if agrees else "contradicted"]
    if fault:
        assert job["error"]["code"] == "provider_failed"
        assert job["error"]["provider"] == {
            "status": None,
            "code": "TASK_STATUS_FAILED",
            "message": "the model ran out of memory (a fault of the sandbox)",
        }


async def test_an_oversized_callback_is_refused_and_the_job_goes_on(driven: Driven) -> None:
    job = await driven.called_back("a lighthouse [fault:oversized]")
    sent = {(told.kind, told.status) for told in driven.sandbox.callbacks_sent}
    assert sent == {("oversized", 413), ("final", 200)}
    job = await driven.drive(job)
    assert job["status"] == "succeeded"
    assert await driven.verdicts(job) == ["confirmed"]


async def test_a_callback_of_an_earlier_attempt_is_superseded(driven: Driven) -> None:
    job = await driven.submit("a lighthouse [fault:429] [fault:stuck]")
    await driven.step(job)
    await driven.step(job)
    job = await driven.job(job)
    assert (job["status"], (await driven.row(job)).attempt) == ("running", 2)
    await driven.post(job, event(job["provider_task_id"]), attempt=1)
    job = await driven.settle(job)
    assert await driven.verdicts(job) == ["superseded"]
    assert (job["status"], driven.lookups(job)) == ("running", 0)


async def test_a_token_is_worthless_for_another_job(driven: Driven) -> None:
    mine, other = await driven.sent("[fault:stuck]"), await driven.sent("[fault:stuck]")
    await driven.post(mine, event(other["provider_task_id"]))
    await driven.settle(mine)
    assert await driven.verdicts(mine) == ["foreign"]
    assert await driven.verdicts(other) == []
    assert driven.lookups(other) == 0


async def test_a_test_event_for_a_real_job_is_read_back_and_not_believed(driven: Driven) -> None:
    test = await driven.sent(test_mode={"enabled": True})
    mock = driven.sandbox.callbacks_sent[-1]
    assert mock.kind == "test"
    job = await driven.sent("a lighthouse [fault:held]")
    body = mock.body.replace(mock.task_id.encode(), job["provider_task_id"].encode())
    await driven.post(job, body)
    job = await driven.settle(job)
    assert (job["status"], job["verified_by"]) == ("running", None)
    assert await driven.verdicts(job) == ["contradicted"]
    assert driven.lookups(job) == 1
    assert test["test"] is True


@pytest.mark.parametrize(
    ("asked", "status", "code"),
    [("TASK_STATUS_SUCCEED", "succeeded", None), ("TASK_STATUS_FAILED", "failed", "provider_failed")],
)
async def test_a_test_job_is_judged_by_its_token_and_never_touches_the_bucket(
    driven: Driven, asked: str, status: str, code: str | None
) -> None:
    job = await driven.drive(await driven.submit(test_mode={"enabled": True, "return_task_status": asked}))
    assert (job["status"], job["verified_by"], job["test"]) == (status, "token", True)
    assert await driven.verdicts(job) == ["mock"]
    assert [output["status"] for output in job["outputs"]] == (["mock"] if code is None else [])
    assert (job["error"] or {}).get("code") == code
    assert driven.keys() == []
    assert driven.sandbox.paid == []
    assert driven.sandbox.lookups.total() == 0, "a mock can't be looked up, so nobody asks"
    assert "job.copying" not in await driven.types(job)


async def test_however_many_callbacks_come_there_is_one_read_back_in_ten_seconds(driven: Driven) -> None:
    job = await driven.sent("a lighthouse [fault:stuck]")
    for number in range(6):
        await driven.post(job, event(job["provider_task_id"], number=number))
        await driven.settle(job)
    await asyncio.gather(*(settle(driven.context, uuid(job)) for _ in range(8)))
    assert driven.lookups(job) == 1
    await driven.later(job, 9)
    await asyncio.gather(*(settle(driven.context, uuid(job)) for _ in range(8)))
    assert driven.lookups(job) == 1
    await driven.later(job, 1)
    await asyncio.gather(*(settle(driven.context, uuid(job)) for _ in range(8)))
    assert driven.lookups(job) == 2
    assert await driven.verdicts(job) == ["contradicted"] * 6
    assert (await driven.types(job)).count("job.callback") == 6


async def test_a_callback_that_has_to_wait_for_its_read_back_is_not_forgotten(driven: Driven) -> None:
    job = await driven.sent("a lighthouse [fault:stuck]")
    await driven.post(job, event(job["provider_task_id"]))
    await driven.settle(job)
    await driven.sql("DELETE FROM pgqueuer")
    await driven.post(job, event(job["provider_task_id"], number=2))
    await driven.sql("DELETE FROM pgqueuer")
    await driven.settle(job)
    [task] = await driven.sql("SELECT *, execute_after - now() AS wait FROM pgqueuer")
    assert task["entrypoint"] == "settle"
    assert 8 < task["wait"].total_seconds() <= 10.1


async def test_what_needs_no_read_back_is_judged_at_once_while_others_wait_for_theirs(driven: Driven) -> None:
    job = await driven.sent("a lighthouse [fault:stuck]")
    await driven.post(job, event(job["provider_task_id"]))
    await driven.settle(job)
    await driven.post(job, event(job["provider_task_id"], number=2))
    await driven.post(job, b"garbage")
    await driven.settle(job)
    assert await driven.verdicts(job) == ["contradicted", None, "malformed"]


async def test_a_wave_of_callbacks_and_polls_at_once_ends_the_job_once(driven: Driven) -> None:
    job = await driven.called_back()
    for number in range(4):
        await driven.post(job, event(job["provider_task_id"], number=number))
    await driven.make_due(job)
    await asyncio.gather(
        *(settle(driven.context, uuid(job)) for _ in range(4)), *(driven.look_up(job) for _ in range(4))
    )
    job = await driven.drive(job)
    assert job["status"] == "succeeded"
    types = await driven.types(job)
    assert types.count("job.copying") == types.count("job.succeeded") == types.count("output.stored") == 1


async def test_the_events_of_callbacks_hold_neither_body_nor_urls(driven: Driven) -> None:
    job = await driven.sent("a lighthouse [fault:forged]")
    await driven.wait_for_callbacks(job, 2)
    await driven.drive(job)
    answer = await driven.client.get(f"/v1/jobs/{job['id']}/callbacks")
    shown: list[Any] = [answer.json(), await driven.events(job)]
    for secret in ("attacker.example", "X-Amz", "/v1/callbacks/", driven.url_for(job).rpartition("/")[2]):
        assert secret not in str(shown)
