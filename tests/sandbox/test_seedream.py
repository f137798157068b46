"""Seedream: both dialects, their limits, and the shapes its answer may have."""

from __future__ import annotations

import base64
import io
from typing import Any

import httpx
import pytest
from PIL import Image

from service.sandbox import SandboxSettings
from service.sandbox.pictures import Picture, draw_picture
from tests.sandbox.conftest import Clock, World
from tests.sandbox.speaking import Seedream
from tests.serving import serving_sandbox


def data_uri(width: int = 60, height: int = 60, kind: str = "png") -> str:
    drawn = draw_picture(Picture("a harbour", width, height, 7, 0, kind))
    return f"data:image/{kind};base64,{base64.b64encode(drawn).decode()}"


@pytest.fixture
def seedream(world: World) -> Seedream:
    return Seedream(world)


async def test_the_answer_is_a_list_of_urls_and_nothing_else(seedream: Seedream) -> None:
    answer = await seedream.submit()

    assert list(answer.json()) == ["images"]
    [url] = answer.json()["images"]
    image = await seedream.world.http.get(url)
    assert Image.open(io.BytesIO(image.content)).size == (1024, 1024)
    assert image.headers["content-type"] == "image/jpeg"


@pytest.mark.parametrize(
    ("version", "size", "drawn"),
    [
        ("4.0", None, (2048, 2048)),
        ("4.0", "1K", (1024, 1024)),
        ("4.0", "2560x1440", (2560, 1440)),
        ("4.5", "2K", (2048, 2048)),
        ("4.5", "4096x1024", (4096, 1024)),
    ],
)
async def test_sizes_are_words_or_pixels(world: World, version: str, size: str | None, drawn: tuple[int, int]) -> None:
    [url] = await Seedream(world, version).urls(size=size)

    assert Image.open(io.BytesIO((await world.http.get(url)).content)).size == drawn


@pytest.mark.parametrize(
    ("version", "fields", "count"),
    [
        ("4.0", {"max_images": 3}, 1),
        ("4.0", {"max_images": 3, "sequential_image_generation": "auto"}, 3),
        ("4.0", {"sequential_image_generation": "auto"}, 15),
        ("4.0", {"sequential_image_generation": "auto", "images": ["https://a.example/1.png"] * 5}, 10),
        ("4.5", {"sequential_image_generation": "auto", "sequential_image_generation_options": {"max_images": 2}}, 2),
        ("4.5", {"sequential_image_generation": "auto", "image": ["https://a.example/1.png"] * 14}, 1),
        # The other dialect's words are not seen.
        ("4.5", {"sequential_image_generation": "auto", "max_images": 2}, 15),
        ("4.0", {"sequential_image_generation": "auto", "image": ["https://a.example/1.png"] * 5}, 15),
    ],
)
async def test_max_images_counts_with_auto_only_and_in_its_own_dialect(
    world: World, version: str, fields: dict[str, Any], count: int
) -> None:
    assert len(await Seedream(world, version).urls(size="2K", **fields)) == count
    assert world.sandbox.paid[0].images == count


async def test_a_reference_image_shows_through_and_so_does_the_watermark(seedream: Seedream) -> None:
    bodies = [{}, {"images": [data_uri()]}, {"watermark": False}]
    urls = [(await seedream.urls(**body))[0] for body in bodies]
    seeds = {task.seed for task in seedream.world.sandbox.tasks.values()}
    for task in seedream.world.sandbox.tasks.values():
        task.seed = 1

    files = [(await seedream.world.http.get(url)).content for url in urls]

    assert (len(seeds), len(set(files))) == (3, 3)


@pytest.mark.parametrize(
    ("version", "fields", "reason"),
    [
        ("4.0", {"prompt": ""}, "INVALID_REQUEST_BODY"),
        ("4.0", {"size": "1023x1024"}, "INVALID_REQUEST_BODY"),
        ("4.0", {"size": "16400x1024"}, "INVALID_REQUEST_BODY"),
        ("4.0", {"size": "2048*2048"}, "INVALID_REQUEST_BODY"),
        ("4.5", {"size": "1K"}, "INVALID_REQUEST_BODY"),
        ("4.5", {"size": "1024x1024"}, "INVALID_REQUEST_BODY"),
        ("4.0", {"sequential_image_generation": "on"}, "INVALID_REQUEST_BODY"),
        ("4.0", {"max_images": 16}, "INVALID_REQUEST_BODY"),
        ("4.5", {"sequential_image_generation_options": {"max_images": 0}}, "INVALID_REQUEST_BODY"),
        ("4.0", {"images": ["https://a.example/1.png"] * 11}, "INVALID_REQUEST_BODY"),
        ("4.0", {"images": "https://a.example/1.png"}, "INVALID_REQUEST_BODY"),
        ("4.0", {"images": ["c2VjcmV0"]}, "INVALID_REQUEST_BODY"),
        ("4.0", {"images": ["data:image/png;base64,c2VjcmV0"]}, "INVALID_IMAGE_FORMAT"),
        ("4.0", {"images": [data_uri(kind="webp")]}, "INVALID_IMAGE_FORMAT"),
        ("4.0", {"images": [data_uri(200, 60)]}, "INVALID_IMAGE_SIZE"),
        ("4.0", {"watermark": "no"}, "INVALID_REQUEST_BODY"),
    ],
)
async def test_a_wrong_body_is_refused_in_novitas_envelope(
    world: World, version: str, fields: dict[str, Any], reason: str
) -> None:
    answer = await Seedream(world, version).submit(**{"size": "2K", **fields})

    assert (answer.status_code, answer.json()["reason"]) == (400, reason)
    assert world.sandbox.submits == []


async def test_4_5_takes_more_formats(world: World) -> None:
    assert len(await Seedream(world, "4.5").urls(size="2K", image=[data_uri(kind="webp")])) == 1


async def test_the_ledger_counts_the_call_as_paid_and_nobody_can_look_it_up(world: World) -> None:
    await Seedream(world).submit()
    await Seedream(world, "4.5").submit(size="2K")

    told = [(submit.task_id, submit.provider, submit.endpoint, submit.images) for submit in world.sandbox.paid]

    assert told == [("seedream-1", "novita", "seedream-4.0", 1), ("seedream-2", "novita", "seedream-4.5", 1)]
    assert (await world.look_up("seedream-1")).json()["reason"] == "TASK_NOT_FOUND"


async def test_url_objects_are_objects_with_a_url(seedream: Seedream) -> None:
    [item] = (await seedream.submit("[fault:url_objects]")).json()["images"]

    assert list(item) == ["url"]
    assert (await seedream.world.http.get(item["url"])).status_code == 200


async def test_data_uri_and_base64_hold_the_image_itself(seedream: Seedream) -> None:
    [uri] = await seedream.urls("[fault:data_uri]")
    [text] = await seedream.urls("[fault:base64]")

    head, _, inside = uri.partition(",")
    assert head == "data:image/jpeg;base64"
    assert [Image.open(io.BytesIO(base64.b64decode(it))).format for it in (inside, text)] == ["JPEG", "JPEG"]


async def test_fewer_makes_one_less_than_asked_for(seedream: Seedream) -> None:
    urls = await seedream.urls("[fault:fewer]", sequential_image_generation="auto", max_images=3)

    assert len(urls) == 2
    assert seedream.world.sandbox.paid[0].images == 3


@pytest.mark.parametrize(("marker", "status"), [("[fault:ark_error]", 200), ("[fault:ark_400]", 400)])
async def test_arks_errors_come_in_arks_envelope_and_cost_nothing(seedream: Seedream, marker: str, status: int) -> None:
    answer = await seedream.submit(marker)

    assert (answer.status_code, list(answer.json())) == (status, ["error"])
    assert answer.json()["error"]["code"] == "OutputImageSensitiveContentDetected"
    assert seedream.world.sandbox.submits == []


async def test_a_url_lives_for_a_day(seedream: Seedream, clock: Clock) -> None:
    [url] = await seedream.urls()

    clock.seconds += 86_399
    alive = await seedream.world.http.get(url)
    clock.seconds += 1
    dead = await seedream.world.http.get(url)

    assert (alive.status_code, dead.status_code) == (200, 403)


@pytest.mark.parametrize("marker", ["[fault:expired]", "[fault:expired_forever]"])
async def test_expired_urls_are_dead_on_arrival(seedream: Seedream, marker: str) -> None:
    [url] = await seedream.urls(marker)

    assert (await seedream.world.http.get(url)).status_code == 403


async def test_the_key_is_checked() -> None:
    async with (
        serving_sandbox(SandboxSettings(api_key="right")) as served,
        httpx.AsyncClient(base_url=served.url, trust_env=False) as http,
    ):
        keys = [{"authorization": f"Bearer {key}"} for key in ("wrong", "right")]
        answers = [await http.post("/v3/seedream-4.0", json={"prompt": "a lake"}, headers=key) for key in keys]

    assert [answer.status_code for answer in answers] == [403, 200]
