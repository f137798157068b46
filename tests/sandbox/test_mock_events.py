"""Test mode: a mock event out of the submit itself, nothing paid, nothing to look up."""

from __future__ import annotations

import asyncio
import io

import pytest
from PIL import Image

from tests.sandbox.conftest import World


def mock_extra(world: World, status: str = "TASK_STATUS_SUCCEED", url: str | None = None) -> dict[str, object]:
    test_mode = {"enabled": True, "return_task_status": status}
    return {"webhook": {"url": url or f"{world.receiver.url}/hooks/t0ken", "test_mode": test_mode}}


async def test_the_mock_arrives_before_the_submit_is_answered(world: World) -> None:
    world.receiver.gate.clear()
    submit = asyncio.create_task(world.submit(extra=mock_extra(world)))
    await world.receiver.wait_for(1)
    assert not submit.done()

    world.receiver.gate.set()
    answer = await submit

    payload = world.receiver.events[0]["payload"]
    assert answer.status_code == 200
    assert payload["task"]["task_id"] == answer.json()["task_id"]
    assert payload["task"]["status"] == "TASK_STATUS_SUCCEED"


async def test_the_mocks_image_is_a_fixed_one_that_can_be_fetched(world: World) -> None:
    await world.submit(extra=mock_extra(world))

    (image,) = world.receiver.events[0]["payload"]["images"]
    answer = await world.http.get(image["image_url"])

    assert image["image_url"].startswith(f"{world.url}/test_data/image_01.jpeg?X-Amz-")
    assert Image.open(io.BytesIO(answer.content)).format == "JPEG"
    assert (await world.http.get("/test_data/image_01.jpeg")).status_code == 403


async def test_a_failure_can_be_asked_for(world: World) -> None:
    await world.submit(extra=mock_extra(world, "TASK_STATUS_FAILED"))

    payload = world.receiver.events[0]["payload"]

    assert (payload["task"]["status"], payload["images"]) == ("TASK_STATUS_FAILED", [])
    assert payload["task"]["reason"]


@pytest.mark.parametrize("status", [None, 500])
async def test_a_webhook_that_does_not_take_it_fails_the_submit(world: World, status: int | None) -> None:
    world.receiver.statuses = [status] if status else []
    url = None if status else "http://127.0.0.1:9/hooks"

    answer = await world.submit(extra=mock_extra(world, url=url))

    assert answer.status_code == 500
    assert answer.json()["message"] == "fail to send async task result to webhook"


async def test_a_test_is_not_paid_for_and_can_not_be_looked_up(world: World) -> None:
    task_id = await world.accepted(extra=mock_extra(world))

    (submit,) = world.sandbox.submits

    assert (submit.task_id, submit.test) == (task_id, True)
    assert world.sandbox.paid == []
    assert (await world.look_up(task_id)).json()["reason"] == "TASK_NOT_FOUND"
    assert (await world.http.get("/_sandbox/submits?test=false")).json() == []


async def test_a_disabled_test_mode_is_no_test(world: World) -> None:
    extra = {"webhook": {"url": f"{world.receiver.url}/hooks/t0ken", "test_mode": {"enabled": False}}}

    await world.finished(extra=extra)

    assert len(world.sandbox.paid) == 1
