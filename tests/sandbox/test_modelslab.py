"""ModelsLab without faults: its routes, both dialects of fetch, its callbacks."""

from __future__ import annotations

import base64
import io
from typing import Any

import httpx
import pytest
from PIL import Image

from service.outputs.formats import tell_format
from service.sandbox import SandboxSettings
from service.sandbox.pictures import Picture, draw_picture
from tests.sandbox.conftest import World
from tests.sandbox.speaking import ModelsLab
from tests.serving import serving_sandbox

SOURCE = base64.b64encode(draw_picture(Picture("a harbour", 320, 192, 7, 0, "png"))).decode()
LINK = "https://pictures.example/harbour.png"


@pytest.fixture
def modelslab(world: World) -> ModelsLab:
    return ModelsLab(world)


async def image_at(world: World, url: str) -> Image.Image:
    return Image.open(io.BytesIO((await world.http.get(url)).content))


async def test_a_submit_is_answered_with_processing_and_links_that_do_not_exist(modelslab: ModelsLab) -> None:
    world = modelslab.world

    said = (await modelslab.submit("[fault:held]", samples=2)).json()

    assert (said["status"], said["output"], said["webhook_status"]) == ("processing", [], "")
    assert isinstance(said["id"], int)
    assert said["fetch_result"] == f"{world.url}/api/v6/images/fetch/{said['id']}"
    assert said["eta"] > 0
    assert len(said["future_links"]) == 2
    assert {(await world.http.get(link)).status_code for link in said["future_links"]} == {404}
    assert said["meta"]["prompt"].startswith("a lighthouse at dawn")
    assert (said["meta"]["W"], said["meta"]["model_id"]) == (256, "midjourney")
    assert "key" not in said["meta"]


async def test_a_fetch_says_processing_until_it_is_done_and_then_has_neither_meta_nor_track_id(
    modelslab: ModelsLab,
) -> None:
    world = modelslab.world
    task_id = (await modelslab.submit("[fault:held]")).json()["id"]
    before = (await modelslab.fetch(task_id)).json()

    world.sandbox.release(str(task_id))
    await world.receiver.wait_for(1)
    after = (await modelslab.fetch(str(task_id))).json()

    assert (before["status"], before["id"], before["output"]) == ("processing", task_id, [])
    assert list(after) == ["status", "id", "output"]
    assert (after["status"], after["id"]) == ("success", task_id)
    assert world.sandbox.lookups[str(task_id)] == 2
    assert (await image_at(world, after["output"][0])).size == (256, 128)


async def test_the_callback_has_the_shape_of_the_documentation_and_no_key(modelslab: ModelsLab) -> None:
    task_id = await modelslab.finished()

    [event] = modelslab.world.receiver.events
    assert list(event) == ["status", "id", "output", "track_id", "generationTime", "meta"]
    assert (event["status"], event["id"], event["track_id"]) == ("success", int(task_id), "trk_1")
    assert event["output"] == (await modelslab.fetch(task_id)).json()["output"]
    assert event["meta"]["webhook"] == f"{modelslab.world.receiver.url}/hooks/t0ken"
    assert "key" not in event["meta"]


async def test_the_callback_is_tried_once(modelslab: ModelsLab) -> None:
    modelslab.world.receiver.statuses = [500]

    await modelslab.finished()
    await modelslab.finished(prompt="a lake")
    await modelslab.world.receiver.wait_for(2)

    assert [(sent.attempt, sent.status) for sent in modelslab.world.sandbox.callbacks_sent] == [(1, 500), (1, 200)]


async def test_without_a_webhook_nothing_is_sent(modelslab: ModelsLab) -> None:
    await modelslab.finished(webhook=None)

    assert modelslab.world.sandbox.callbacks_sent == []


@pytest.mark.parametrize("path", ["/api/v1/enterprise/fetch", "/api/v6/images/fetch"])
async def test_the_id_in_the_body_is_called_request_id(modelslab: ModelsLab, path: str) -> None:
    task_id, http = await modelslab.finished(), modelslab.world.http

    found = await http.post(path, json={"key": "key", "request_id": task_id})
    unnamed = await http.post(path, json={"key": "key", "id": task_id})

    assert found.json()["status"] == "success"
    assert (unnamed.status_code, unnamed.json()["message"]) == (400, "request_id is required")


@pytest.mark.parametrize("folder", ["/api/v6/images", "/api/v1/enterprise/images", "/api/v1/enterprise/realtime"])
async def test_the_id_may_be_in_the_path(world: World, folder: str) -> None:
    modelslab = ModelsLab(world, folder)
    task_id = await modelslab.finished()

    found = await world.http.post(f"{folder}/fetch/{task_id}", json={"key": "key"})

    assert (found.json()["status"], found.json()["id"]) == ("success", int(task_id))


async def test_products_say_more(world: World) -> None:
    modelslab = ModelsLab(world, "/api/v1/enterprise/flux")
    task_id = await modelslab.finished(base64=False, enhance_prompt=True)

    found = (await world.http.post(f"/api/v1/enterprise/flux/fetch/{task_id}", json={"key": "key"})).json()

    assert found["proxy_links"] == found["output"]
    assert (found["warning"], found["nsfw_content_detected"], found["webhook_status"]) == ("", False, "")
    assert world.sandbox.paid[0].endpoint == "flux/text2img"


@pytest.mark.parametrize(
    ("path", "media_type"),
    [("video/text2video", "video/mp4"), ("voice/text_to_speech", "audio/wav"), ("interior/make", "image/png")],
)
async def test_a_product_makes_what_its_name_says(world: World, path: str, media_type: str) -> None:
    [url] = await ModelsLab(world).urls(name=path)

    answer = await world.http.get(url)

    told = tell_format(answer.content)
    assert told is not None
    assert (told.media_type, answer.headers["content-type"]) == (media_type, media_type)


async def test_img2img_and_inpaint_take_links_without_following_them(modelslab: ModelsLab) -> None:
    plain = await modelslab.urls(name="img2img", init_image=LINK, width=None, height=None)
    masked = await modelslab.urls(name="inpaint", init_image=LINK, mask_image=LINK)

    assert (await image_at(modelslab.world, plain[0])).size == (512, 512)
    assert (await image_at(modelslab.world, masked[0])).size == (256, 128)


async def test_base64_outputs_are_links_to_text(modelslab: ModelsLab) -> None:
    [url] = await modelslab.urls(name="img2img", init_image=SOURCE, base64="yes", width=None, height=None)

    answer = await modelslab.world.http.get(url)

    assert (url.endswith(".base64"), answer.headers["content-type"]) == (True, "text/plain; charset=utf-8")
    assert Image.open(io.BytesIO(base64.b64decode(answer.text, validate=True))).size == (320, 192)


async def test_samples_are_pictures_of_their_own(modelslab: ModelsLab) -> None:
    urls = await modelslab.urls(samples="3")

    assert len({(await modelslab.world.http.get(url)).content for url in urls}) == 3
    assert modelslab.world.sandbox.paid[0].images == 3


@pytest.mark.parametrize(
    ("name", "fields", "says"),
    [
        ("text2img", {"prompt": None}, "prompt is required"),
        ("text2img", {"samples": "5"}, "samples must be between 1 and 4"),
        ("text2img", {"width": "2048"}, "width must be between 64 and 1024"),
        ("text2img", {"height": "tall"}, "height must be between 64 and 1024"),
        ("text2img", {"guidance_scale": 21}, "guidance_scale must be between 1 and 20"),
        ("text2img", {"num_inference_steps": "0"}, "num_inference_steps must be between 1 and 50"),
        ("text2img", {"webhook": "consumer.example"}, "webhook must be a valid URL"),
        ("img2img", {}, "init_image is required"),
        ("img2img", {"init_image": SOURCE}, "Unable to fetch image from provided URL"),
        ("img2img", {"init_image": "harbour", "base64": "yes"}, "init_image: the image is not base64"),
        ("inpaint", {"init_image": LINK}, "mask_image is required"),
        ("text2img", {"prompt": "[fault:" + "v2_envelope]"}, "no fault 'v2_envelope' for modelslab"),
    ],
)
async def test_a_wrong_body_is_refused_with_a_sentence(
    modelslab: ModelsLab, name: str, fields: dict[str, Any], says: str
) -> None:
    answer = await modelslab.submit(name=name, **fields)

    assert (answer.status_code, answer.json()["status"]) == (400, "error")
    assert says in answer.json()["message"]
    assert modelslab.world.sandbox.submits == []


@pytest.mark.parametrize("body", [b"{", b"[]", b"", b'{"key": NaN}'])
async def test_a_body_that_is_no_object_is_refused(world: World, body: bytes) -> None:
    for path in ("text2img", "fetch", "flux/text2img", "flux/fetch/1"):
        answer = await world.http.post(f"/api/v1/enterprise/{path}", content=body)
        assert (answer.status_code, answer.json()["status"]) == (400, "error")


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/enterprise/system_details",
        "/api/v1/enterprise/flux/fetch",
        "/api/v1/enterprise/flux/restart_server",
        "/api/v6/images/fly",
        "/api/v7/x",
    ],
)
async def test_what_it_does_not_have_is_not_found_in_its_own_words(world: World, path: str) -> None:
    answer = await world.http.post(path, json={"key": "key"})

    assert (answer.status_code, answer.json()["status"]) == (404, "error")


async def test_an_unknown_id_is_not_found_and_novitas_tasks_are_unknown(modelslab: ModelsLab) -> None:
    others = await modelslab.world.finished()

    answers = [await modelslab.fetch(task_id) for task_id in (1, "nobody", others)]

    assert [(answer.status_code, answer.json()["message"]) for answer in answers] == [(404, "Request not found")] * 3


async def test_its_tasks_are_unknown_to_novita(modelslab: ModelsLab) -> None:
    task_id = await modelslab.finished()

    assert (await modelslab.world.look_up(task_id)).status_code == 404


async def test_the_ledger_knows_the_provider(modelslab: ModelsLab) -> None:
    await modelslab.finished()
    await modelslab.world.finished()

    told = (await modelslab.world.http.get("/_sandbox/submits")).json()

    assert [(submit["provider"], submit["endpoint"]) for submit in told] == [
        ("modelslab", "text2img"),
        ("novita", "txt2img"),
    ]
    assert not any(submit["test"] for submit in told)


@pytest.mark.parametrize(("key", "status"), [(None, 401), ("", 401), (7, 401), ("wrong", 401), ("right", 404)])
async def test_the_key_in_the_body_is_checked(key: object, status: int) -> None:
    async with (
        serving_sandbox(SandboxSettings(api_key="right")) as served,
        httpx.AsyncClient(base_url=served.url, trust_env=False) as http,
    ):
        body = {"key": key, "request_id": "1", "prompt": "a lighthouse"}
        fetch = await http.post("/api/v1/enterprise/fetch", json=body)
        submit = await http.post("/api/v1/enterprise/text2img", json=body)

    assert (fetch.status_code, submit.status_code) == (status, 200 if status == 404 else status)
    if status == 401:
        assert submit.json() == {"status": "error", "message": "Invalid API key"}
