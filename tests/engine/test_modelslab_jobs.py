"""ModelsLab's jobs from submit to end: its many shapes, and how it stands by its callbacks without echoing our URL."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from tests.engine.driven import Driven, event, uuid
from tests.world import until


def modelslab(prompt: str = "a lighthouse at dawn", **more: Any) -> dict[str, Any]:
    """Return what makes a job one for ModelsLab."""
    given = {"prompt": prompt, "model_id": "flux", "width": 64, "height": 64, "samples": 1, **more}
    return {"provider": "modelslab", "operation": "text2img", "input": given}


@dataclass(frozen=True)
class End:
    """What a job comes to. code: of its error. paid, stored: submits and objects. verdicts: of all callbacks, in order."""

    status: str
    verified_by: str | None
    code: str | None
    paid: int
    stored: int
    verdicts: tuple[str, ...]
    lookups: int


def _stored(*verdicts: str, lookups: int = 1, stored: int = 1) -> End:
    return End("succeeded", "readback", None, 1, stored, verdicts, lookups)


_REFUSED = End("failed", "sync", "provider_rejected", 0, 0, (), 0)

SHAPES = {
    # --- The submit's answer
    "instant": End("succeeded", "sync", None, 1, 1, ("duplicate",), 0),
    "instant, failed": End("failed", "sync", "provider_failed", 1, 0, ("late",), 0),
    "message_object": _REFUSED,
    "error_200": _REFUSED,
    "error_200, message_object": _REFUSED,
    "400": _REFUSED,
    "retired": _REFUSED,
    "gone": _REFUSED,
    "id_null": _stored("confirmed"),
    "id_text": _stored("confirmed"),
    "output_text": _stored("confirmed"),
    "early=0.1": _stored("confirmed"),
    # --- Unclear, until a callback names the task
    "no_id": _stored("confirmed"),
    "500_after": _stored("confirmed"),
    "reset_after": _stored("confirmed"),
    "403_html": End("failed", None, "submit_unknown", 0, 0, (), 0),
    "500_before": End("failed", None, "submit_unknown", 0, 0, (), 0),
    # --- Callbacks
    "no_echo": _stored("confirmed"),
    "empty_webhook": _stored("confirmed"),
    "duplicated": _stored("confirmed", "duplicate", "duplicate"),
    "reordered": _stored("confirmed", "contradicted"),
    "forged": _stored("confirmed", "confirmed"),
    "forged_failure": _stored("contradicted", "confirmed"),
    "foreign": _stored("foreign", "confirmed"),
    "malformed": _stored("malformed", "confirmed"),
    "unknown_event": _stored("contradicted", "confirmed"),
    "failed": End("failed", "readback", "provider_failed", 1, 0, ("confirmed",), 1),
    # --- Look-ups and outputs
    "lookup_500": _stored("confirmed", lookups=2),
    "lookup_429": _stored("confirmed", lookups=2),
    "lookup_foreign": _stored("confirmed", lookups=2),
    "no_outputs_once": _stored("confirmed", lookups=2),
    "no_outputs": End("failed", "readback", "no_outputs", 1, 0, ("confirmed",), 5),
    "more_images": _stored("confirmed", stored=2),
    "image_503": _stored("confirmed"),
}


@pytest.mark.parametrize("shape", SHAPES)
async def test_whatever_shape_its_answers_have_a_job_comes_to_its_end(driven: Driven, shape: str) -> None:
    expected = SHAPES[shape]
    job = await driven.sent(**modelslab(f"a lighthouse [fault:{shape}]"))
    await driven.wait_for_callbacks(job, len(expected.verdicts))
    job = await driven.drive(job)
    code = None if job["error"] is None else job["error"]["code"]
    paid, stored = len(driven.sandbox.paid), len(driven.keys())
    verdicts, lookups = tuple(map(str, await driven.verdicts(job))), driven.sandbox.lookups.total()
    if shape == "duplicated":  # two of them come at once
        verdicts = tuple(sorted(verdicts))
    assert End(job["status"], job["verified_by"], code, paid, stored, verdicts, lookups) == expected
    assert len(job["outputs"]) == stored


@pytest.mark.parametrize("shape", ["lost", "lost, id_null", "lost, id_text"])
async def test_a_job_whose_callback_is_lost_ends_by_a_poll(driven: Driven, shape: str) -> None:
    job = await driven.sent(**modelslab(f"a lighthouse [fault:{shape}]"))
    assert job["status"] == "running"
    await driven.sandbox.tasks[job["provider_task_id"]].called_back.wait()
    job = await driven.drive(job)
    assert (job["status"], job["verified_by"], await driven.verdicts(job)) == ("succeeded", "readback", [])
    assert (len(driven.sandbox.paid), len(driven.keys()), driven.lookups(job)) == (1, 1, 1)


async def test_outputs_in_base64_are_fetched_from_where_they_are_and_decoded(driven: Driven) -> None:
    job = await driven.called_back(**modelslab(base64="yes", samples="2"))
    job = await driven.drive(job)
    assert (job["status"], [output["media_type"] for output in job["outputs"]]) == ("succeeded", ["image/png"] * 2)
    assert len(driven.keys()) == 2


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ("messege", "processing"),
        ("output_text", "processing"),
        ("id_text", "processing"),
        ("unknown_status", "waiting"),
    ],
)
async def test_look_ups_of_every_shape_say_that_it_goes_on(driven: Driven, shape: str, said: str) -> None:
    job = await driven.sent(**modelslab(f"a lighthouse [fault:{shape}, held]"))
    for _ in range(2):
        job = await driven.look_up(job)
        assert (job["status"], job["provider_status"]) == ("running", said)
    driven.sandbox.release(job["provider_task_id"])
    await driven.wait_for_callbacks(job)
    await driven.later(job, 10)
    job = await driven.drive(job)
    assert (job["status"], await driven.verdicts(job)) == ("succeeded", ["confirmed"])
    assert (driven.lookups(job), len(driven.keys())) == (3, 1)


@pytest.mark.parametrize("refusal", ["429, retry_after=7", "error_200, 429, retry_after=7"])
async def test_the_time_in_the_body_of_a_429_is_obeyed(driven: Driven, refusal: str) -> None:
    job = await driven.sent(**modelslab(f"a lighthouse [fault:{refusal}]"))
    row = await driven.row(job)
    [clock] = await driven.sql("SELECT now()")
    assert row.due_at is not None
    assert row.status == "queued"
    assert 5 < (row.due_at - clock["now"]).total_seconds() <= 7.1
    assert (await driven.drive(job))["status"] == "succeeded"
    assert len(driven.sandbox.paid) == 1


@pytest.mark.parametrize("shape", ["no_id", "500_after", "reset_after"])
async def test_an_unclear_submit_is_settled_by_a_callback_whose_task_the_look_up_knows(
    driven: Driven, shape: str
) -> None:
    job = await driven.called_back(**modelslab(f"a lighthouse [fault:{shape}]"))
    row = await driven.row(job)
    assert (row.status, row.submit_state, row.provider_task_id) == ("submitting", "unclear", None)
    job = await driven.settle(job)
    assert (job["status"], job["provider_task_id"]) == ("copying", driven.sandbox.submits[0].task_id)
    assert await driven.verdicts(job) == ["confirmed"]
    assert (await driven.types(job))[:4] == ["job.queued", "job.submitted", "job.callback", "job.copying"]


async def test_a_callback_while_the_submit_is_in_flight_names_no_task_yet(driven: Driven) -> None:
    async with driven.in_flight(**modelslab("a lighthouse [fault:early] [fault:held]")) as job:
        await driven.post(job, event(driven.sandbox.submits[0].task_id, provider="modelslab"))
        parked = await driven.settle(job)
        assert (parked["status"], parked["provider_task_id"]) == ("submitting", None)
        assert (await driven.verdicts(job), driven.sandbox.lookups.total()) == ([None], 0)


async def test_a_task_that_the_look_up_does_not_know_is_not_adopted(driven: Driven) -> None:
    job = await driven.sent(**modelslab("a lighthouse [fault:500_after] [fault:lost]"))
    await driven.post(job, event("123456789", provider="modelslab"))
    job = await driven.settle(job)
    assert await driven.verdicts(job) == [None], "its books may only be late"
    await driven.later(job, 31)
    job = await driven.settle(job)
    assert (job["status"], job["provider_task_id"]) == ("submitting", None)
    assert (await driven.verdicts(job), driven.sandbox.lookups["123456789"]) == (["unproven"], 2)
    job = await driven.drive(job)
    assert (job["status"], job["error"]["code"]) == ("failed", "submit_unknown")
    assert len(driven.sandbox.paid) == 1


async def test_another_jobs_task_is_not_adopted_and_that_job_is_unchanged(driven: Driven) -> None:
    other = await driven.sent(**modelslab("a harbour [fault:stuck]"))
    before = await driven.row(other)
    job = await driven.sent(**modelslab("a lighthouse [fault:500_after] [fault:lost]"))
    await driven.post(job, event(other["provider_task_id"], provider="modelslab"))
    job = await driven.settle(job)
    assert (job["status"], job["provider_task_id"]) == ("submitting", None)
    assert await driven.verdicts(job) == ["foreign"]
    assert (await driven.job(other), await driven.row(other)) == (other, before)
    assert await driven.verdicts(other) == []


async def test_a_foreign_callback_does_not_spoil_the_genuine_one_of_an_unclear_submit(driven: Driven) -> None:
    await driven.sent(**modelslab("a harbour [fault:stuck]"))
    job = await driven.sent(**modelslab("a lighthouse [fault:500_after] [fault:foreign]"))
    await driven.wait_for_callbacks(job, 2)
    for _ in range(3):
        job = await driven.settle(job)
        await driven.later(job, 10)
    assert (job["status"], job["provider_task_id"]) == ("copying", driven.sandbox.submits[1].task_id)
    assert await driven.verdicts(job) == ["foreign", "confirmed"]


async def test_of_two_jobs_that_take_the_same_task_one_gets_it_and_the_other_keeps_its_own_callback(
    driven: Driven,
) -> None:
    other = await driven.sent(**modelslab("a harbour [fault:500_after] [fault:lost, stuck]"))
    job = await driven.sent(**modelslab("a lighthouse [fault:500_after] [fault:lost]"))
    theirs, ours = (submit.task_id for submit in driven.sandbox.submits)
    for task_id in (theirs, ours):
        await driven.post(job, event(task_id, provider="modelslab"))
    async with driven.service.pool.acquire() as adopting, adopting.transaction():
        await adopting.execute("UPDATE jobs SET provider_task_id = $2 WHERE id = $1", uuid(other), theirs)
        settling = asyncio.create_task(driven.settle(job))
        await until(lambda: _waits_for_a_lock(driven))
    assert (await settling)["status"] == "submitting"
    assert await driven.verdicts(job) == ["foreign", None]
    await driven.later(job, 10)
    job = await driven.settle(job)
    assert (job["provider_task_id"], await driven.verdicts(job)) == (ours, ["foreign", "confirmed"])


async def _waits_for_a_lock(driven: Driven) -> bool:
    blocked = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    return bool(await driven.sql(blocked))
