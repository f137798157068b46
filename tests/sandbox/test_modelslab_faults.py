"""ModelsLab's many shapes, and what can go wrong with its tasks, callbacks and look-ups."""

from __future__ import annotations

import json

import pytest

from tests.sandbox.conftest import World
from tests.sandbox.speaking import ModelsLab


@pytest.fixture
def modelslab(world: World) -> ModelsLab:
    return ModelsLab(world)


async def status_of(modelslab: ModelsLab, task_id: str) -> str:
    return str((await modelslab.fetch(task_id)).json()["status"])


def statuses_told(world: World) -> list[str]:
    return [event["status"] for event in world.receiver.events]


# --- The submit's answer


async def test_instant_answers_with_the_result_and_calls_back_all_the_same(modelslab: ModelsLab) -> None:
    said = (await modelslab.submit("[fault:instant]")).json()
    await modelslab.world.receiver.wait_for(1)

    assert list(said) == ["status", "generationTime", "id", "output", "meta"]
    assert (said["status"], len(said["output"])) == ("success", 1)
    assert modelslab.world.receiver.events[0]["output"] == said["output"]
    assert (await modelslab.world.http.get(said["output"][0])).status_code == 200


async def test_an_instant_failure_is_one_too(modelslab: ModelsLab) -> None:
    said = (await modelslab.submit("[fault:instant, failed]")).json()

    assert said == {"status": "failed", "id": "", "message": "Failed, Try Again", "output": ""}


async def test_error_200_is_an_error_that_looks_well(modelslab: ModelsLab) -> None:
    answer = await modelslab.submit("[fault:error_200]")

    assert (answer.status_code, answer.json()) == (200, {"status": "error", "message": "Model id not found"})
    assert modelslab.world.sandbox.submits == []


async def test_error_200_beside_another_refusal_is_about_its_status(modelslab: ModelsLab) -> None:
    answers = [await modelslab.submit("[fault:error_200, 429=1, retry_after=30]") for _ in range(2)]

    assert [(answer.status_code, answer.json()["status"]) for answer in answers] == [
        (200, "error"),
        (200, "processing"),
    ]
    assert answers[0].json()["retry_after"] == 30


async def test_message_object_is_an_object(modelslab: ModelsLab) -> None:
    answer = await modelslab.submit("[fault:message_object]")

    assert answer.status_code == 400
    assert answer.json() == {"status": "error", "message": {"prompt": ["The prompt field is required."]}}


async def test_id_null_leaves_the_id_to_fetch_result(modelslab: ModelsLab) -> None:
    said = (await modelslab.submit("[fault:id_null]")).json()

    assert said["id"] is None
    assert said["fetch_result"].endswith(f"/{modelslab.world.sandbox.paid[0].task_id}")


async def test_no_id_tells_it_in_the_callback_only(modelslab: ModelsLab) -> None:
    said = await modelslab.submit("[fault:no_id]")
    await modelslab.world.receiver.wait_for(1)

    task_id = modelslab.world.sandbox.paid[0].task_id
    assert task_id not in said.text
    assert modelslab.world.receiver.events[0]["id"] == int(task_id)


async def test_id_text_is_a_text_everywhere(modelslab: ModelsLab) -> None:
    said = (await modelslab.submit("[fault:id_text]")).json()
    await modelslab.world.receiver.wait_for(1)

    assert isinstance(said["id"], str)
    assert not said["id"].isdigit()
    assert modelslab.world.receiver.events[0]["id"] == said["id"]
    assert (await modelslab.fetch(said["id"])).json()["id"] == said["id"]


async def test_early_calls_back_before_the_submit_is_answered(modelslab: ModelsLab) -> None:
    answer = await modelslab.submit("[fault:early=0]")

    assert modelslab.world.receiver.events[0]["id"] == answer.json()["id"]
    assert answer.json()["status"] == "processing"


# --- How the task goes


async def test_stuck_never_ends_and_never_calls_back(modelslab: ModelsLab) -> None:
    task_id = await modelslab.finished("[fault:stuck]")
    await modelslab.finished()

    assert await status_of(modelslab, task_id) == "processing"
    assert [sent.task_id == task_id for sent in modelslab.world.sandbox.callbacks_sent] == [False]


async def test_failed_says_so_in_two_shapes(modelslab: ModelsLab) -> None:
    task_id = await modelslab.finished("[fault:failed]")

    failed = {"status": "failed", "id": "", "message": "Failed, Try Again", "output": ""}
    assert (await modelslab.fetch(task_id)).json() == failed
    [event] = modelslab.world.receiver.events
    assert list(event) == ["status", "id", "message", "track_id"]
    assert (event["status"], event["id"]) == ("failed", int(task_id))


async def test_failed_can_be_for_the_first_submits_only(modelslab: ModelsLab) -> None:
    tasks = [await modelslab.finished("[fault:failed=1]") for _ in range(2)]

    assert [await status_of(modelslab, task_id) for task_id in tasks] == ["failed", "success"]


async def test_no_outputs_once_shows_them_at_a_later_look(modelslab: ModelsLab) -> None:
    task_id = await modelslab.finished("[fault:no_outputs_once=2]")

    assert [len((await modelslab.fetch(task_id)).json()["output"]) for _ in range(3)] == [0, 0, 1]
    assert modelslab.world.receiver.events[0]["output"] == []


async def test_empty_webhook_has_no_url_and_the_look_up_has(modelslab: ModelsLab) -> None:
    task_id = await modelslab.finished("[fault:empty_webhook]")

    assert (statuses_told(modelslab.world), modelslab.world.receiver.events[0]["output"]) == (["success"], [])
    assert len((await modelslab.fetch(task_id)).json()["output"]) == 1


async def test_output_text_is_an_empty_text_for_an_empty_list(modelslab: ModelsLab) -> None:
    said = (await modelslab.submit("[fault:output_text, held, no_outputs]")).json()
    looks = [(await modelslab.fetch(said["id"])).json()["output"]]
    modelslab.world.sandbox.release(str(said["id"]))
    await modelslab.world.receiver.wait_for(1)
    looks.append((await modelslab.fetch(said["id"])).json()["output"])

    assert [said["output"], *looks, modelslab.world.receiver.events[0]["output"]] == ["", "", "", ""]


# --- Callbacks


async def test_lost_never_calls_back(modelslab: ModelsLab) -> None:
    task_id = await modelslab.finished("[fault:lost]")

    assert await status_of(modelslab, task_id) == "success"
    assert modelslab.world.sandbox.callbacks_sent == []


async def test_duplicated_calls_back_three_times(modelslab: ModelsLab) -> None:
    await modelslab.finished("[fault:duplicated]")
    await modelslab.world.receiver.wait_for(3)

    assert len(set(modelslab.world.receiver.bodies)) == 1


async def test_reordered_sends_an_outdated_event_last(modelslab: ModelsLab) -> None:
    await modelslab.finished("[fault:reordered]")
    await modelslab.world.receiver.wait_for(2)

    assert statuses_told(modelslab.world) == ["success", "processing"]


async def test_forged_and_forged_failure_come_before_the_task_ends(modelslab: ModelsLab) -> None:
    said = (await modelslab.submit("[fault:forged, forged_failure, held]")).json()
    await modelslab.world.receiver.wait_for(2)

    assert statuses_told(modelslab.world) == ["success", "failed"]
    assert {event["id"] for event in modelslab.world.receiver.events} == {said["id"]}
    assert modelslab.world.receiver.events[0]["output"][0].startswith("https://attacker.example/")
    assert await status_of(modelslab, str(said["id"])) == "processing"


async def test_foreign_names_another_tasks_id(modelslab: ModelsLab) -> None:
    await modelslab.world.finished()
    other = await modelslab.finished(webhook=None)
    task_id = await modelslab.finished("[fault:foreign]")
    await modelslab.world.receiver.wait_for(3)

    assert [event["id"] for event in modelslab.world.receiver.events[1:]] == [int(other), int(task_id)]


async def test_malformed_unknown_event_and_oversized_come_first(modelslab: ModelsLab) -> None:
    await modelslab.finished("[fault:malformed, unknown_event, oversized]")
    garbage, large, unknown, last = await modelslab.world.receiver.wait_for(4)

    with pytest.raises(ValueError, match="line 1 column 1"):
        json.loads(garbage)
    assert len(large) > 1024 * 1024
    assert [json.loads(body)["status"] for body in (unknown, last)] == ["moved", "success"]


# --- Look-ups


@pytest.mark.parametrize(
    ("marker", "status", "says"),
    [
        ("[fault:not_found=2]", 404, "Request not found"),
        ("[fault:lookup_500=2]", 500, "Internal server error. Please try again."),
        ("[fault:lookup_429=2]", 429, "Rate limit exceeded. Maximum 5 queued requests allowed."),
    ],
)
async def test_the_first_look_ups_fail(modelslab: ModelsLab, marker: str, status: int, says: str) -> None:
    task_id = await modelslab.finished(marker)

    answers = [await modelslab.fetch(task_id) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [status, status, 200]
    assert answers[0].json() == {"status": "error", "message": says}


async def test_a_refused_look_up_says_how_long_to_wait_in_its_body(modelslab: ModelsLab) -> None:
    task_id = await modelslab.finished("[fault:lookup_429, retry_after=2.5]")

    assert (await modelslab.fetch(task_id)).json()["retry_after"] == 2.5


async def test_lookup_foreign_answers_with_another_task(modelslab: ModelsLab) -> None:
    task_id = await modelslab.finished("[fault:lookup_foreign]")

    first, second = [(await modelslab.fetch(task_id)).json()["id"] for _ in range(2)]

    assert (first != int(task_id), second) == (True, int(task_id))


async def test_until_the_end_look_ups_may_be_misspelt_or_unknown(modelslab: ModelsLab) -> None:
    misspelt = (await modelslab.submit("[fault:messege, held]")).json()["id"]
    unknown = (await modelslab.submit("[fault:unknown_status, held]")).json()["id"]

    assert (await modelslab.fetch(misspelt)).json() == {"status": "processing", "messege": "Request processing"}
    assert await status_of(modelslab, unknown) == "waiting"


async def test_no_echo_hides_the_callback_url(modelslab: ModelsLab) -> None:
    answer = await modelslab.submit("[fault:no_echo]")
    await modelslab.world.receiver.wait_for(1)

    assert "t0ken" not in answer.text
    assert b"t0ken" not in modelslab.world.receiver.bodies[0]
    assert modelslab.world.receiver.events[0]["track_id"] == "trk_1"
