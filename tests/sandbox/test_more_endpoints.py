"""Novita's other endpoints: inpainting, upscale, and everything that only has a name."""

from __future__ import annotations

import asyncio
import base64
import io
from typing import Any

import httpx
import pytest
from PIL import Image

from service.outputs.content import inspect
from service.outputs.formats import Family
from service.sandbox import SandboxSettings
from service.sandbox.pictures import Picture, draw_picture
from tests.sandbox.conftest import REQUEST, World
from tests.serving import serving_sandbox


def drawn(width: int = 200, height: int = 160, kind: str = "png") -> str:
    return base64.b64encode(draw_picture(Picture("a harbour", width, height, 7, 0, kind))).decode()


def mask(width: int = 200, height: int = 160) -> str:
    """Return a mask whose right half is white."""
    image = Image.new("L", (width, height))
    image.paste(255, (width // 2, 0, width, height))
    file = io.BytesIO()
    image.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


INPAINTING = {
    **{name: value for name, value in REQUEST.items() if name not in ("width", "height")},
    "image_base64": drawn(),
    "mask_image_base64": mask(),
}
UPSCALE = {"model_name": "RealESRGAN_x4plus_anime_6B", "image_base64": drawn(), "scale_factor": 2.5}


async def run(world: World, endpoint: str, body: dict[str, Any]) -> dict[str, Any]:
    """Submit, wait for the end, and return what task-result says."""
    answer = await world.http.post(f"/v3/async/{endpoint}", json=body)
    assert answer.status_code == 200, answer.text
    task_id = answer.json()["task_id"]
    async with asyncio.timeout(10):
        await world.sandbox.tasks[task_id].called_back.wait()
    result: dict[str, Any] = (await world.look_up(task_id)).json()
    return result


async def image_of(world: World, result: dict[str, Any]) -> Image.Image:
    content = (await world.http.get(result["images"][0]["image_url"])).content
    return Image.open(io.BytesIO(content)).convert("RGB")


async def test_inpainting_keeps_the_size_and_draws_under_the_mask_only(world: World) -> None:
    result = await run(world, "inpainting", {"request": {**INPAINTING, "strength": 1}})

    assert result["task"]["task_type"] == "INPAINTING"
    before, after = Image.open(io.BytesIO(base64.b64decode(drawn()))).convert("RGB"), await image_of(world, result)
    assert after.size == (200, 160)
    left, right = (0, 0, 100, 140), (100, 0, 200, 140)
    assert after.crop(left).tobytes() == before.crop(left).tobytes()
    assert after.crop(right).tobytes() != before.crop(right).tobytes()


async def test_an_inverted_mask_draws_the_other_half(world: World) -> None:
    result = await run(world, "inpainting", {"request": {**INPAINTING, "strength": 1, "inpainting_mask_invert": 1}})

    before, after = Image.open(io.BytesIO(base64.b64decode(drawn()))).convert("RGB"), await image_of(world, result)
    right = (100, 0, 200, 140)
    assert after.crop(right).tobytes() == before.crop(right).tobytes()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"mask_image_base64": mask(100, 100)}, "INVALID_IMAGE_SIZE"),
        ({"mask_image_base64": None}, "INVALID_REQUEST_BODY"),
        ({"image_base64": "bm8gaW1hZ2U="}, "INVALID_IMAGE_FORMAT"),
        ({"mask_blur": 65}, "INVALID_REQUEST_BODY"),
        ({"inpainting_full_res": 2}, "INVALID_REQUEST_BODY"),
        ({"inpainting_full_res_padding": 257}, "INVALID_REQUEST_BODY"),
        ({"initial_noise_multiplier": 1.6}, "INVALID_REQUEST_BODY"),
    ],
)
async def test_a_wrong_inpainting_is_refused(world: World, change: dict[str, Any], reason: str) -> None:
    answer = await world.http.post("/v3/async/inpainting", json={"request": {**INPAINTING, **change}})

    assert (answer.status_code, answer.json()["reason"]) == (400, reason)


async def test_upscale_multiplies_the_size(world: World) -> None:
    result = await run(world, "upscale", {"request": UPSCALE, "extra": {"response_image_type": "jpeg"}})

    assert (result["task"]["task_type"], result["images"][0]["image_type"]) == ("UPSCALE", "jpeg")
    assert (await image_of(world, result)).size == (500, 400)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"scale_factor": 1}, "INVALID_REQUEST_BODY"),
        ({"scale_factor": 4.1}, "INVALID_REQUEST_BODY"),
        ({"scale_factor": None}, "INVALID_REQUEST_BODY"),
        ({"model_name": "sd_xl_base_1.0.safetensors"}, "INVALID_REQUEST_BODY"),
        ({"image_base64": drawn(3500, 3500, "jpeg"), "scale_factor": 4}, "IMAGE_EXCEEDS_MAX_RESOLUTION"),
    ],
    ids=["factor 1", "factor 4.1", "no factor", "model", "pixels"],
)
async def test_a_wrong_upscale_is_refused(world: World, change: dict[str, Any], reason: str) -> None:
    answer = await world.http.post("/v3/async/upscale", json={"request": {**UPSCALE, **change}})

    assert (answer.status_code, answer.json()["reason"]) == (400, reason)


async def test_half_an_image_is_as_good_as_none_when_it_comes_to_drawing(world: World) -> None:
    half = base64.b64decode(drawn())
    body = {"request": {**UPSCALE, "image_base64": base64.b64encode(half[: len(half) // 2]).decode()}}

    assert (await image_of(world, await run(world, "upscale", body))).size == (500, 400)


@pytest.mark.parametrize(
    ("endpoint", "kind", "media_type"),
    [
        ("wan-2.2-t2v", "video", "video/mp4"),
        ("kling-v2.1-i2v-master", "video", "video/mp4"),
        ("txt2video", "video", "video/mp4"),
        ("txt2speech", "audio", "audio/wav"),
        ("qwen-image-txt2img", "image", "image/png"),
    ],
)
async def test_an_endpoint_makes_what_its_name_says(world: World, endpoint: str, kind: Family, media_type: str) -> None:
    result = await run(world, endpoint, {"prompt": "a lighthouse at dawn"})

    lists = {name: len(result[name]) for name in ("images", "videos", "audios")}
    assert lists == {"images": 0, "videos": 0, "audios": 0} | {f"{kind}s": 1}
    [entry] = result[f"{kind}s"]
    assert entry[f"{kind}_url_ttl"] == "3600"
    answer = await world.http.get(entry[f"{kind}_url"])
    told = inspect(answer.content, kind)
    assert (told.media_type, answer.headers["content-type"]) == (media_type, media_type)
    assert told.extension == entry[f"{kind}_type"]


async def test_two_clips_are_not_the_same_file(world: World) -> None:
    results = [await run(world, "wan-t2v", {"prompt": prompt}) for prompt in ("a lake", "a hill")]
    files = {(await world.http.get(result["videos"][0]["video_url"])).content for result in results}

    assert len(files) == 2


async def test_a_body_with_or_without_request_is_understood(world: World) -> None:
    inside = await run(world, "z-image-turbo", {"request": {"prompt": "a lake", "width": 320, "height": 192}})
    outside = await run(world, "flux-2-dev", {"prompt": "a lake", "size": "192*320", "image_num": 2})

    assert (await image_of(world, inside)).size == (320, 192)
    assert ((await image_of(world, outside)).size, len(outside["images"])) == ((192, 320), 2)
    assert [submit.prompt for submit in world.sandbox.paid] == ["a lake", "a lake"]


@pytest.mark.parametrize("body", [{}, {"prompts": [{"frames": 8, "prompt": "a lake"}]}, {"texts": ["a lake", 1]}])
async def test_prompts_come_in_many_shapes(world: World, body: dict[str, Any]) -> None:
    await run(world, "txt2video", body)

    assert world.sandbox.paid[0].prompt.strip() == ("a lake" if body else "")


async def test_it_calls_back_only_when_it_is_told_where(world: World) -> None:
    await run(world, "wan-t2v", {"prompt": "a lake"})
    await run(world, "wan-t2v", {"prompt": "a hill", "extra": {"webhook": {"url": f"{world.receiver.url}/hooks/t"}}})

    [event] = world.receiver.events
    assert [video["video_type"] for video in event["payload"]["videos"]] == ["mp4"]
    assert [sent.task_id for sent in world.sandbox.callbacks_sent] == [world.sandbox.paid[1].task_id]


async def test_faults_work_there_as_anywhere(world: World) -> None:
    result = await run(world, "txt2speech", {"request": {"texts": ["a lake [fault:failed]"]}})

    assert (result["task"]["status"], result["audios"]) == ("TASK_STATUS_FAILED", [])


async def test_retired_and_gone_take_an_endpoint_away(world: World) -> None:
    retired, gone = await world.submit("[fault:retired]"), await world.submit("[fault:gone]")

    assert (retired.status_code, retired.json()["reason"]) == (404, "API_NOT_FOUND")
    assert (gone.status_code, gone.headers["content-type"]) == (410, "text/plain; charset=utf-8")
    assert world.sandbox.submits == []


async def test_the_settings_can_take_paths_away() -> None:
    settings = SandboxSettings(
        retired=frozenset({"/v3/async/upscale", "/v3/seedream-4.0", "/api/v1/enterprise/inpaint"})
    )
    async with (
        serving_sandbox(settings) as served,
        httpx.AsyncClient(base_url=served.url, headers={"authorization": "Bearer key"}, trust_env=False) as http,
    ):
        gone = [await http.post(path, json={"key": "key", "prompt": "a lake"}) for path in sorted(settings.retired)]
        there = await http.post("/v3/seedream-4.5", json={"prompt": "a lake"})

    assert [answer.status_code for answer in gone] == [404, 404, 404]
    assert there.status_code == 200
