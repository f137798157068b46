"""Image URLs and what comes from them, faults included."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from PIL import Image

from service.sandbox.pictures import Picture, draw_picture
from tests.sandbox.conftest import Clock, World


def open_image(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content))
    image.load()
    return image


async def test_the_same_request_draws_the_same_bytes(world: World) -> None:
    first, second = [(await world.http.get(await world.image_url())).content for _ in range(2)]

    assert first == second


@pytest.mark.parametrize(("width", "height"), [(1, 1), (4096, 16), (16, 4096), (2048, 2048)])
def test_a_picture_of_any_size_can_be_drawn(width: int, height: int) -> None:
    assert open_image(draw_picture(Picture("a lake", width, height, 1, 0, "jpeg"))).size == (width, height)


@pytest.mark.parametrize("change", [{"seed": 124}, {"prompt": "a fishing village"}, {"width": 264}])
async def test_another_request_draws_other_bytes(world: World, change: dict[str, Any]) -> None:
    first = await world.http.get(await world.image_url())
    second = await world.http.get(await world.image_url(**change))

    assert first.content != second.content


async def test_a_url_lives_for_an_hour(world: World, clock: Clock) -> None:
    url = await world.image_url()

    clock.seconds += 3599
    alive = await world.http.get(url)
    clock.seconds += 1
    dead = await world.http.get(url)

    assert (alive.status_code, dead.status_code) == (200, 403)
    assert "<Code>AccessDenied</Code><Message>Request has expired</Message>" in dead.text


async def test_looking_again_does_not_sign_anew(world: World, clock: Clock) -> None:
    task_id = await world.finished()
    clock.seconds += 4000

    url = (await world.look_up(task_id)).json()["images"][0]["image_url"]

    assert (await world.http.get(url)).status_code == 403


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("X-Amz-Expires=3600", "X-Amz-Expires=360000", "SignatureDoesNotMatch"),
        ("X-Amz-Date=2023", "X-Amz-Date=2024", "SignatureDoesNotMatch"),
        ("X-Amz-Signature=", "X-Amz-Signature=0", "SignatureDoesNotMatch"),
        ("X-Amz-Signature=", "X-Amz-Signature=%C3%A9", "SignatureDoesNotMatch"),
        ("&x-id=GetObject", "", "AccessDenied"),
        ("&x-id=GetObject", "&x-id=GetObject&x-id=GetObject", "AccessDenied"),
        ("&X-Amz-Signature=", "&more=", "AccessDenied"),
        (".jpeg?", ".png?", "SignatureDoesNotMatch"),
    ],
)
async def test_a_changed_url_is_refused(world: World, old: str, new: str, code: str) -> None:
    url = await world.image_url()
    assert old in url

    answer = await world.http.get(url.replace(old, new))

    assert (answer.status_code, answer.headers["content-type"]) == (403, "application/xml")
    assert f"<Code>{code}</Code>" in answer.text


async def test_a_url_without_its_query_is_refused(world: World) -> None:
    url = await world.image_url()

    assert (await world.http.get(url.partition("?")[0])).status_code == 403


async def test_a_forgotten_image_is_no_such_key(world: World) -> None:
    url = await world.image_url()
    await world.http.post("/_sandbox/reset")

    answer = await world.http.get(url)

    assert (answer.status_code, "<Code>NoSuchKey</Code>" in answer.text) == (404, True)


async def test_expired_is_cured_by_looking_again(world: World) -> None:
    task_id = await world.finished("[fault:expired]")
    await world.receiver.wait_for(1)

    urls = [world.receiver.events[0]["payload"]["images"][0]["image_url"]]
    urls += [(await world.look_up(task_id)).json()["images"][0]["image_url"] for _ in range(2)]

    assert [(await world.http.get(url)).status_code for url in urls] == [403, 403, 200]


async def test_expired_forever_is_not(world: World) -> None:
    task_id = await world.finished("[fault:expired_forever]")

    urls = [(await world.look_up(task_id)).json()["images"][0]["image_url"] for _ in range(3)]

    assert [(await world.http.get(url)).status_code for url in urls] == [403, 403, 403]


async def test_private_url_points_at_the_metadata_service(world: World) -> None:
    assert httpx.URL(await world.image_url("[fault:private_url]")).host == "169.254.169.254"


async def test_redirect_leads_to_the_metadata_service(world: World) -> None:
    answer = await world.http.get(await world.image_url("[fault:redirect]"))

    assert answer.status_code == 302
    assert answer.headers["location"].startswith("http://169.254.169.254/")


async def test_image_404_has_no_image(world: World) -> None:
    assert (await world.http.get(await world.image_url("[fault:image_404]"))).status_code == 404


async def test_image_503_gives_way_after_some_downloads(world: World) -> None:
    url = await world.image_url("[fault:image_503=2]")

    assert [(await world.http.get(url)).status_code for _ in range(3)] == [503, 503, 200]


async def test_truncated_is_half_an_image_of_an_honest_length(world: World) -> None:
    whole = (await world.http.get(await world.image_url())).content
    url = await world.image_url("[fault:truncated=1]")

    first, second = await world.http.get(url), await world.http.get(url)

    assert first.content == whole[: len(whole) // 2]
    assert first.headers["content-length"] == str(len(whole) // 2)
    with pytest.raises(OSError, match="truncated"):
        open_image(first.content)
    assert second.content == whole


async def test_truncated_is_for_ever_unless_told(world: World) -> None:
    url = await world.image_url("[fault:truncated]")

    assert len({(await world.http.get(url)).content for _ in range(3)}) == 1
    with pytest.raises(OSError, match="truncated"):
        open_image((await world.http.get(url)).content)


async def test_cut_closes_the_connection_in_the_middle(world: World) -> None:
    url = await world.image_url("[fault:cut=1]")

    with pytest.raises(httpx.RemoteProtocolError, match="without sending complete message body"):
        await world.http.get(url)
    open_image((await world.http.get(url)).content)


async def test_slow_image_trickles_in_and_is_whole(world: World) -> None:
    url = await world.image_url("[fault:slow_image=0.3]")

    with pytest.raises(TimeoutError):
        await _within(0.1, world, url)
    open_image((await world.http.get(url)).content)


async def _within(seconds: float, world: World, url: str) -> None:
    async with asyncio.timeout(seconds):
        await world.http.get(url)


async def test_wrong_type_is_a_page(world: World) -> None:
    task_id = await world.finished("[fault:wrong_type]")
    image = (await world.look_up(task_id)).json()["images"][0]

    answer = await world.http.get(image["image_url"])

    assert image["image_type"] == "jpeg"
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.content.startswith(b"<!doctype html>")


async def test_mislabeled_is_png_under_jpegs_name(world: World) -> None:
    task_id = await world.finished("[fault:mislabeled]")
    image = (await world.look_up(task_id)).json()["images"][0]

    answer = await world.http.get(image["image_url"])

    assert (image["image_type"], answer.headers["content-type"]) == ("jpeg", "image/jpeg")
    assert open_image(answer.content).format == "PNG"


async def test_huge_does_not_end(world: World) -> None:
    got = 0
    async with world.http.stream("GET", await world.image_url("[fault:huge]")) as answer:
        assert "content-length" not in answer.headers
        async for size in _sizes(answer):
            got += size
            if got > 8 * 1024 * 1024:
                break

    assert got > 8 * 1024 * 1024


async def _sizes(answer: httpx.Response) -> AsyncIterator[int]:
    async for chunk in answer.aiter_raw():
        yield len(chunk)
