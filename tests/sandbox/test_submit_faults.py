"""Faults in a submit's answer."""

from __future__ import annotations

import httpx
import pytest

from tests.sandbox.conftest import World


async def test_400_rejects_the_prompt_and_runs_nothing(world: World) -> None:
    answer = await world.submit("[fault:400]")

    assert (answer.status_code, answer.json()["reason"]) == (400, "ILLEGAL_PROMPT")
    assert world.sandbox.submits == []


async def test_403_html_is_a_proxys_page_and_runs_nothing(world: World) -> None:
    answer = await world.submit("[fault:403_html]")

    assert (answer.status_code, answer.headers["content-type"]) == (403, "text/html; charset=utf-8")
    assert world.sandbox.submits == []


async def test_429_refuses_the_first_submits_of_this_prompt(world: World) -> None:
    answers = [await world.submit("[fault:429=2]") for _ in range(3)]
    other = await world.submit("[fault:429]")

    assert [answer.status_code for answer in answers] == [429, 429, 200]
    assert answers[0].json()["reason"] == "RATE_LIMIT_EXCEEDED"
    assert "retry-after" not in answers[0].headers
    assert other.status_code == 429
    assert len(world.sandbox.submits) == 1


@pytest.mark.parametrize("markers", ["[fault:429, retry_after=7]", "[fault:429] [fault:retry_after=7]"])
async def test_retry_after_tells_how_long_to_wait(world: World, markers: str) -> None:
    answer = await world.submit(markers)

    assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")


async def test_500_before_runs_nothing(world: World) -> None:
    answer = await world.submit("[fault:500_before]")

    assert (answer.status_code, answer.json()["reason"]) == (500, "CREATE_TASK_FAILED")
    assert world.sandbox.submits == []


async def test_500_after_runs_although_it_answers_500(world: World) -> None:
    answer = await world.submit("[fault:500_after]")
    await world.receiver.wait_for(1)

    assert answer.status_code == 500
    assert "task_id" not in answer.text
    (submit,) = world.sandbox.paid
    assert world.receiver.events[0]["payload"]["task"]["task_id"] == submit.task_id


async def test_reset_after_runs_and_cuts_the_connection_without_an_answer(world: World) -> None:
    with pytest.raises(httpx.ReadError):
        await world.submit("[fault:reset_after]")
    await world.receiver.wait_for(1)

    assert len(world.sandbox.paid) == 1


async def test_hang_answers_late_and_is_accepted_all_the_same(world: World) -> None:
    with pytest.raises(httpx.ReadTimeout):
        await world.http.post("/v3/async/txt2img", json=world.body("[fault:hang=0.3]"), timeout=0.1)
    await world.receiver.wait_for(1)

    assert (await world.submit("[fault:hang=0.01]")).status_code == 200
    assert len(world.sandbox.paid) == 2


async def test_early_calls_back_before_the_submit_is_answered(world: World) -> None:
    answer = await world.submit("[fault:early=0]")

    assert world.receiver.events[0]["payload"]["task"]["task_id"] == answer.json()["task_id"]


async def test_v2_envelope_wraps_the_task_id(world: World) -> None:
    answer = (await world.submit("[fault:v2_envelope]")).json()

    assert answer == {"code": 0, "msg": "", "data": {"task_id": world.sandbox.paid[0].task_id}}
