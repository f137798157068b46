"""Faults in how a task goes, in its callbacks and in its look-ups."""

from __future__ import annotations

import json
import uuid

import httpx
import pytest

from tests.sandbox.conftest import World

SUCCEED, FAILED, PROCESSING = "TASK_STATUS_SUCCEED", "TASK_STATUS_FAILED", "TASK_STATUS_PROCESSING"


async def status_of(world: World, task_id: str) -> str:
    return str((await world.look_up(task_id)).json()["task"]["status"])


async def images_of(world: World, task_id: str) -> int:
    return len((await world.look_up(task_id)).json()["images"])


async def test_slow_takes_as_long_as_it_says(world: World) -> None:
    slow = await world.accepted("[fault:slow=0.4]")
    quick = await world.finished()

    assert (await status_of(world, slow), await status_of(world, quick)) == (PROCESSING, SUCCEED)
    await world.receiver.wait_for(2)
    assert await status_of(world, slow) == SUCCEED


async def test_held_waits_for_its_release(world: World) -> None:
    task_id = await world.accepted("[fault:held]")
    await world.finished()
    assert await status_of(world, task_id) == PROCESSING

    answer = await world.http.post(f"/_sandbox/release/{task_id}")
    await world.receiver.wait_for(2)

    assert (answer.status_code, answer.json()) == (200, {"released": True})
    assert await status_of(world, task_id) == SUCCEED


async def test_releasing_an_unknown_task_is_404(world: World) -> None:
    assert (await world.http.post("/_sandbox/release/nobody")).status_code == 404


async def test_stuck_never_ends_and_never_calls_back(world: World) -> None:
    task_id = await world.finished("[fault:stuck]")
    await world.finished()

    assert await status_of(world, task_id) == PROCESSING
    assert [sent.task_id == task_id for sent in world.sandbox.callbacks_sent] == [False]


async def test_failed_says_why(world: World) -> None:
    task_id = await world.finished("[fault:failed]")

    result = (await world.look_up(task_id)).json()

    assert (result["task"]["status"], result["images"]) == (FAILED, [])
    assert "out of memory" in result["task"]["reason"]
    assert world.receiver.statuses_told == [FAILED]


async def test_failed_can_be_for_the_first_submits_only(world: World) -> None:
    tasks = [await world.finished("[fault:failed=1]") for _ in range(2)]

    assert [await status_of(world, task_id) for task_id in tasks] == [FAILED, SUCCEED]


async def test_no_outputs_succeeds_without_images(world: World) -> None:
    task_id = await world.finished("[fault:no_outputs]")

    assert [await images_of(world, task_id) for _ in range(3)] == [0, 0, 0]
    assert world.receiver.events[0]["payload"]["images"] == []
    assert world.receiver.statuses_told == [SUCCEED]


async def test_no_outputs_once_shows_them_at_a_later_look(world: World) -> None:
    task_id = await world.finished("[fault:no_outputs_once=2]")

    assert [await images_of(world, task_id) for _ in range(3)] == [0, 0, 1]
    assert world.receiver.events[0]["payload"]["images"] == []


async def test_more_images_makes_twice_as_many(world: World) -> None:
    task_id = await world.finished("[fault:more_images]", image_num=2)

    assert await images_of(world, task_id) == 4


async def test_lost_never_calls_back(world: World) -> None:
    task_id = await world.finished("[fault:lost]")

    assert await status_of(world, task_id) == SUCCEED
    assert world.sandbox.callbacks_sent == []


async def test_duplicated_calls_back_three_times_twice_at_once(world: World) -> None:
    world.receiver.gate.clear()
    await world.accepted("[fault:duplicated]")
    await world.receiver.wait_for(2)
    world.receiver.gate.set()
    await world.receiver.wait_for(3)

    assert len(set(world.receiver.bodies)) == 1
    assert world.receiver.most_in_flight == 2
    assert [sent.error for sent in world.sandbox.callbacks_sent if sent.error] == []


async def test_reordered_sends_an_outdated_event_last(world: World) -> None:
    await world.finished("[fault:reordered]")
    await world.receiver.wait_for(2)

    assert world.receiver.statuses_told == [SUCCEED, PROCESSING]


async def test_forged_claims_success_with_strangers_urls_before_the_task_ends(world: World) -> None:
    task_id = await world.accepted("[fault:forged, held]")
    await world.receiver.wait_for(1)

    (forged,) = world.receiver.events
    assert forged["payload"]["task"] | {"task_id": task_id, "status": SUCCEED} == forged["payload"]["task"]
    hosts = [httpx.URL(image["image_url"]).host for image in forged["payload"]["images"]]
    assert hosts == ["attacker.example", "169.254.169.254"]
    assert await status_of(world, task_id) == PROCESSING

    world.sandbox.release(task_id)
    await world.receiver.wait_for(2)
    images = world.receiver.events[1]["payload"]["images"]
    assert [image["image_url"].startswith(world.url) for image in images] == [True]


async def test_forged_failure_claims_failure_and_the_task_succeeds(world: World) -> None:
    task_id = await world.finished("[fault:forged_failure]")
    await world.receiver.wait_for(2)

    assert world.receiver.statuses_told == [FAILED, SUCCEED]
    assert await status_of(world, task_id) == SUCCEED


async def test_foreign_names_another_tasks_id(world: World) -> None:
    other = await world.finished()
    task_id = await world.finished("[fault:foreign]")
    await world.receiver.wait_for(3)

    assert [event["payload"]["task"]["task_id"] for event in world.receiver.events] == [other, other, task_id]


async def test_malformed_sends_garbage_first(world: World) -> None:
    await world.finished("[fault:malformed]")
    first, second = await world.receiver.wait_for(2)

    with pytest.raises(ValueError, match="line 1 column 1"):
        json.loads(first)
    assert json.loads(second)["payload"]["task"]["status"] == SUCCEED


async def test_unknown_event_comes_first(world: World) -> None:
    await world.finished("[fault:unknown_event]")
    await world.receiver.wait_for(2)

    assert [event["event_type"] for event in world.receiver.events] == ["ASYNC_TASK_MOVED", "ASYNC_TASK_RESULT"]


async def test_oversized_sends_more_than_a_mebibyte_first(world: World) -> None:
    await world.finished("[fault:oversized]")
    first, second = await world.receiver.wait_for(2)

    assert len(first) > 1024 * 1024 > len(second)
    assert len((await world.http.get("/_sandbox/callbacks")).json()[0]["body"]) == 10_000


@pytest.mark.parametrize(
    ("fault", "status", "reason"),
    [
        ("not_found", 404, "TASK_NOT_FOUND"),
        ("lookup_500", 500, "GET_RESULT_FAILED"),
        ("lookup_429", 429, "RATE_LIMIT_EXCEEDED"),
    ],
)
async def test_the_first_look_ups_fail(world: World, fault: str, status: int, reason: str) -> None:
    task_id = await world.finished(f"[fault:{fault}=2]")

    answers = [await world.look_up(task_id) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [status, status, 200]
    assert answers[0].json()["reason"] == reason
    assert world.sandbox.lookups[task_id] == 3


async def test_faults_of_look_ups_take_turns(world: World) -> None:
    task_id = await world.finished("[fault:lookup_500, not_found=2, lookup_429, retry_after=3]")

    answers = [await world.look_up(task_id) for _ in range(5)]

    assert [answer.status_code for answer in answers] == [404, 404, 500, 429, 200]
    assert answers[3].headers["retry-after"] == "3"


async def test_lookup_foreign_answers_with_another_task(world: World) -> None:
    task_id = await world.finished("[fault:lookup_foreign]")

    first, second = [(await world.look_up(task_id)).json()["task"]["task_id"] for _ in range(2)]

    assert (first != task_id, second) == (True, task_id)


@pytest.mark.parametrize(
    ("fault", "status"), [("queued", "TASK_STATUS_QUEUED"), ("unknown_status", "TASK_STATUS_UNKNOWN")]
)
async def test_until_the_end_look_ups_say_something_else_than_processing(world: World, fault: str, status: str) -> None:
    task_id = await world.accepted(f"[fault:{fault}, held]")
    assert await status_of(world, task_id) == status

    world.sandbox.release(task_id)
    await world.receiver.wait_for(1)
    assert await status_of(world, task_id) == SUCCEED


async def test_no_echo_hides_the_callback_url(world: World) -> None:
    task_id = await world.finished("[fault:no_echo]")

    assert "webhook" not in (await world.look_up(task_id)).json()["extra"]
    assert b"t0ken" not in world.receiver.bodies[0]


async def test_several_faults_go_together(world: World) -> None:
    answer = await world.submit("[fault:lost] [fault:v2_envelope,not_found=1]")
    task_id = answer.json()["data"]["task_id"]
    await world.sandbox.tasks[task_id].called_back.wait()

    assert (await world.look_up(task_id)).status_code == 404
    assert await status_of(world, task_id) == SUCCEED
    assert uuid.UUID(task_id).version == 4
    assert world.receiver.bodies == []
