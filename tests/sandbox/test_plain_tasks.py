"""What the sandbox does when no fault is asked for: Novita's routes, envelopes and shapes."""

from __future__ import annotations

import base64
import io
import re
import uuid
from typing import Any

import httpx
import pytest
from PIL import Image

from service.sandbox import SandboxSettings
from service.sandbox.pictures import Picture, draw_picture
from tests.sandbox.conftest import REQUEST, World
from tests.serving import serving_sandbox

SOURCE = base64.b64encode(draw_picture(Picture("a harbour", 200, 160, 7, 0, "png"))).decode()


async def test_a_submit_answers_a_task_id_at_the_top_level(world: World) -> None:
    answer = await world.submit()

    assert answer.status_code == 200
    assert list(answer.json()) == ["task_id"]
    assert uuid.UUID(answer.json()["task_id"]).version == 4


async def test_a_finished_task_reads_as_documented(world: World) -> None:
    task_id = await world.finished(extra={"enable_nsfw_detection": True})

    result = (await world.look_up(task_id)).json()

    assert result["task"] == {
        "task_id": task_id,
        "task_type": "TXT_TO_IMG",
        "status": "TASK_STATUS_SUCCEED",
        "reason": "",
        "eta": 0,
        "progress_percent": 0,
    }
    assert result["extra"]["seed"] == "123"
    assert result["extra"]["enable_nsfw_detection"] is True
    assert result["extra"]["webhook"] == {"url": f"{world.receiver.url}/hooks/t0ken"}
    assert set(result["extra"]["debug_info"]) == {
        "request_info",
        "submit_time_ms",
        "execute_time_ms",
        "complete_time_ms",
    }
    (image,) = result["images"]
    assert image["image_url_ttl"] == "3600"
    assert image["image_type"] == "jpeg"
    assert image["nsfw_detection_result"] == {"valid": True, "confidence": 0}
    assert (result["videos"], result["audios"]) == ([], [])
    assert re.fullmatch(
        rf"{world.url}/prod/{task_id}/[0-9a-f]{{32}}\.jpeg\?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=.+"
        r"&X-Amz-Date=20231114T221320Z&X-Amz-Expires=3600&X-Amz-SignedHeaders=host&x-id=GetObject&X-Amz-Signature=\w{64}",
        image["image_url"],
    )


async def test_without_nsfw_detection_its_result_is_null(world: World) -> None:
    result = (await world.look_up(await world.finished())).json()

    assert result["images"][0]["nsfw_detection_result"] is None


async def test_the_callback_holds_what_task_result_says(world: World) -> None:
    task_id = await world.finished()

    await world.receiver.wait_for(1)
    (event,) = world.receiver.events

    assert event["event_type"] == "ASYNC_TASK_RESULT"
    assert event["payload"] == (await world.look_up(task_id)).json()
    (sent,) = world.sandbox.callbacks_sent
    assert (sent.task_id, sent.kind, sent.attempt, sent.status, sent.error) == (task_id, "final", 1, 200, None)


async def test_until_it_ends_a_task_is_processing_and_has_no_images(world: World) -> None:
    task_id = await world.accepted("[fault:held]")

    result = (await world.look_up(task_id)).json()

    assert result["task"]["status"] == "TASK_STATUS_PROCESSING"
    assert result["images"] == []


async def test_the_images_are_pictures_of_the_size_type_and_number_asked_for(world: World) -> None:
    task_id = await world.finished(extra={"response_image_type": "webp"}, image_num=3, width=320, height=192)

    images = (await world.look_up(task_id)).json()["images"]
    files = [await world.http.get(image["image_url"]) for image in images]

    assert [file.headers["content-type"] for file in files] == ["image/webp"] * 3
    opened = [Image.open(io.BytesIO(file.content)) for file in files]
    assert [(image.format, image.size) for image in opened] == [("WEBP", (320, 192))] * 3
    assert len({file.content for file in files}) == 3


async def test_png_is_the_default_and_a_random_seed_is_told(world: World) -> None:
    task_id = await world.finished(extra={"response_image_type": None}, seed=-1)

    result = (await world.look_up(task_id)).json()

    assert result["images"][0]["image_type"] == "png"
    assert int(result["extra"]["seed"]) >= 0


async def test_hires_fix_decides_the_size(world: World) -> None:
    url = await world.image_url(hires_fix={"target_width": 512, "target_height": 256, "strength": 0.5})

    assert Image.open(io.BytesIO((await world.http.get(url)).content)).size == (512, 256)


async def test_img2img_draws_from_the_image_it_got(world: World) -> None:
    files = []
    for strength in (0.0, 1.0):
        body = world.body(image_base64=SOURCE, strength=strength)
        task_id = (await world.http.post("/v3/async/img2img", json=body)).json()["task_id"]
        await world.sandbox.tasks[task_id].called_back.wait()
        result = (await world.look_up(task_id)).json()
        assert result["task"]["task_type"] == "IMG_TO_IMG"
        files.append((await world.http.get(result["images"][0]["image_url"])).content)

    assert files[0] != files[1]


async def test_the_ledger_knows_every_accepted_submit(world: World) -> None:
    first = await world.accepted(prompt="a fishing village")
    await world.submit(width=100)

    (submit,) = world.sandbox.paid

    assert (submit.task_id, submit.prompt, submit.endpoint, submit.test) == (
        first,
        "a fishing village",
        "txt2img",
        False,
    )
    assert submit.callback_url == f"{world.receiver.url}/hooks/t0ken"


@pytest.mark.parametrize("status", [500, 302, 404])
async def test_a_callback_is_tried_until_a_2xx(world: World, status: int) -> None:
    world.receiver.statuses = [status, status]

    await world.finished()
    await world.receiver.wait_for(3)
    await world.http.post("/_sandbox/reset")

    assert len(set(world.receiver.bodies)) == 1


async def test_a_callback_is_given_up_after_five_tries(world: World) -> None:
    world.receiver.statuses = [503] * 9

    await world.finished()
    await world.receiver.wait_for(5)
    # The next task's callback shows that nothing of the first one is left.
    world.receiver.statuses = []
    await world.finished(prompt="a fishing village")
    await world.receiver.wait_for(6)

    assert [sent.attempt for sent in world.sandbox.callbacks_sent][:5] == [1, 2, 3, 4, 5]
    assert len(world.receiver.bodies) == 6


async def test_a_receiver_that_takes_too_long_is_tried_again(world: World) -> None:
    world.receiver.gate.clear()

    await world.finished()
    world.receiver.gate.set()
    await world.receiver.wait_for(2)

    assert world.sandbox.callbacks_sent[0].error == "timeout"


async def test_a_receiver_that_is_not_there_is_written_down(world: World) -> None:
    await world.finished(extra={"webhook": {"url": "http://127.0.0.1:9/hooks"}})

    assert world.sandbox.callbacks_sent[0].error == "ConnectError"


async def test_without_a_webhook_nothing_is_sent(world: World) -> None:
    task_id = await world.finished(extra={"webhook": None})

    result = (await world.look_up(task_id)).json()

    assert "webhook" not in result["extra"]
    assert world.sandbox.callbacks_sent == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"width": 127}, "width must be within [128, 2048]"),
        ({"height": 2049}, "height must be within [128, 2048]"),
        ({"image_num": 9}, "image_num must be within [1, 8]"),
        ({"image_num": True}, "image_num must be an integer"),
        ({"image_num": None}, "image_num is required"),
        ({"guidance_scale": "7"}, "guidance_scale must be a number"),
        ({"seed": -2}, "seed must be within [-1, inf]"),
        ({"sampler_name": "Euler z"}, "sampler_name is not a known sampler"),
        ({"prompt": "a" * 1025}, "prompt must have 1 to 1024 characters"),
        ({"model_name": ""}, "model_name is required"),
        ({"hires_fix": {"target_width": 64}}, "hires_fix.target_width must be within [128, 4096]"),
    ],
)
async def test_a_wrong_request_is_refused_in_novitas_envelope(world: World, change: dict[str, Any], says: str) -> None:
    answer = await world.submit(**change)

    assert answer.status_code == 400
    assert answer.json() == {"code": 400, "reason": "INVALID_REQUEST_BODY", "message": says, "metadata": {}}
    assert world.sandbox.submits == []


@pytest.mark.parametrize(
    "extra",
    [
        {"response_image_type": "gif"},
        {"webhook": {}},
        {"webhook": {"url": "https://consumer.example", "test_mode": {"enabled": True}}},
    ],
)
async def test_a_wrong_extra_is_refused(world: World, extra: dict[str, Any]) -> None:
    answer = await world.submit(extra=extra)

    assert answer.json()["reason"] == "INVALID_REQUEST_BODY"


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"request": 1}', b"[" * 100_000])
async def test_a_body_that_is_no_submit_is_refused(world: World, body: bytes) -> None:
    answer = await world.http.post("/v3/async/txt2img", content=body)

    assert (answer.status_code, answer.json()["reason"]) == (400, "INVALID_REQUEST_BODY")


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        ("not base64!", "INVALID_IMAGE_FORMAT"),
        (base64.b64encode(b"no image").decode(), "INVALID_IMAGE_FORMAT"),
        (base64.b64encode(bytes(10 * 1024 * 1024 + 1)).decode(), "IMAGE_FILE_EXCEEDS_MAX_SIZE"),
        (
            base64.b64encode(draw_picture(Picture("", 4100, 4000, 1, 0, "jpeg"))).decode(),
            "IMAGE_EXCEEDS_MAX_RESOLUTION",
        ),
        (None, "INVALID_REQUEST_BODY"),
    ],
    ids=["alphabet", "content", "bytes", "pixels", "missing"],
)
async def test_a_wrong_image_is_refused_by_img2img(world: World, image: str | None, reason: str) -> None:
    answer = await world.http.post("/v3/async/img2img", json=world.body(image_base64=image))

    assert (answer.status_code, answer.json()["reason"]) == (400, reason)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("POST", "/v3/async/a/b"),
        ("GET", "/v3/async/txt2img"),
        ("POST", "/v3/seedream-9"),
        ("GET", "/v3/model/"),
    ],
)
async def test_an_unknown_api_is_not_found(world: World, method: str, path: str) -> None:
    answer = await world.http.request(method, path)

    assert (answer.status_code, answer.json()["reason"]) == (404, "API_NOT_FOUND")


async def test_an_unknown_task_is_not_found(world: World) -> None:
    answer = await world.look_up("73fab7c0-e24f-4027-9df0-81ff8ce4bc1f")

    assert (answer.status_code, answer.json()["reason"]) == (404, "TASK_NOT_FOUND")


@pytest.mark.parametrize(
    ("authorization", "status", "reason"),
    [
        ("", 400, "MISSING_API_KEY"),
        ("Bearer", 400, "MISSING_API_KEY"),
        ("Bearer wrong", 403, "INVALID_API_KEY"),
        ("Bearer right", 404, "TASK_NOT_FOUND"),
        ("right", 404, "TASK_NOT_FOUND"),
    ],
)
async def test_the_key_is_checked(authorization: str, status: int, reason: str) -> None:
    async with (
        serving_sandbox(SandboxSettings(api_key="right")) as served,
        httpx.AsyncClient(base_url=served.url, trust_env=False) as http,
    ):
        headers = {"authorization": authorization}
        look_up = await http.get("/v3/async/task-result?task_id=x", headers=headers)
        assert (look_up.status_code, look_up.json()["reason"]) == (status, reason)
        submit = await http.post("/v3/async/txt2img", headers=headers, json={"request": REQUEST})
        assert submit.status_code == (200 if status == 404 else status)


def test_the_key_is_not_in_the_settings_repr() -> None:
    assert "s3cret" not in repr(SandboxSettings(api_key="s3cret"))


async def test_the_inspection_api_tells_what_happened(world: World) -> None:
    task_id = await world.finished()
    await world.look_up(task_id)

    (submit,) = (await world.http.get("/_sandbox/submits")).json()
    (callback,) = (await world.http.get("/_sandbox/callbacks")).json()

    assert (submit["task_id"], submit["test"], submit["at"]) == (task_id, False, 1_700_000_000.0)
    assert (await world.http.get("/_sandbox/submits?test=true")).json() == []
    assert (callback["task_id"], callback["status"]) == (task_id, 200)
    assert callback["body"].startswith('{"event_type":"ASYNC_TASK_RESULT"')
    assert (await world.http.get("/_sandbox/lookups")).json() == {task_id: 1}


async def test_a_reset_forgets_everything(world: World) -> None:
    task_id = await world.finished()

    await world.http.post("/_sandbox/reset")

    assert (await world.look_up(task_id)).status_code == 404
    assert (await world.http.get("/_sandbox/submits")).json() == []


async def test_lean_serves_one_jpeg_of_the_size_asked_for(receiver: Any) -> None:
    settings = SandboxSettings(latency_seconds=0, lean=True, lean_image_bytes=50_000)
    async with (
        serving_sandbox(settings) as served,
        httpx.AsyncClient(base_url=served.url, headers={"authorization": "Bearer key"}, trust_env=False) as http,
    ):
        lean = World(served.sandbox, served.url, http, receiver)
        files = [(await http.get(await lean.image_url(prompt=prompt))).content for prompt in ("a lake", "a hill")]

    assert files[0] == files[1]
    assert 45_000 < len(files[0]) < 55_000
    Image.open(io.BytesIO(files[0])).load()
