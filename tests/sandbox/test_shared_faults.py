"""Faults that Seedream and ModelsLab obey alike; what they look like at Novita's tasks is in the files beside this one."""

from __future__ import annotations

import asyncio
import io

import httpx
import pytest
from PIL import Image

from tests.sandbox.conftest import World
from tests.sandbox.speaking import SPEAKERS, Speaker


@pytest.fixture(params=SPEAKERS)
def speaker(request: pytest.FixtureRequest, world: World) -> Speaker:
    return SPEAKERS[request.param](world)


def format_of(content: bytes) -> str | None:
    image = Image.open(io.BytesIO(content))
    image.load()
    return image.format


REFUSALS = [
    ("[fault:400]", 400, {"ILLEGAL_PROMPT", "The prompt contains content that is not allowed"}),
    ("[fault:retired]", 404, {"API_NOT_FOUND", "The requested endpoint does not exist."}),
    ("[fault:429]", 429, {"RATE_LIMIT_EXCEEDED", "Rate limit exceeded. Maximum 5 queued requests allowed."}),
    ("[fault:500_before]", 500, {"CREATE_TASK_FAILED", "Internal server error. Please try again."}),
]


@pytest.mark.parametrize(("marker", "status", "says"), REFUSALS)
async def test_a_refusal_is_in_the_providers_own_words_and_runs_nothing(
    speaker: Speaker, marker: str, status: int, says: set[str]
) -> None:
    answer = await speaker.submit(marker)

    assert (answer.status_code, speaker.says(answer) in says) == (status, True)
    assert speaker.world.sandbox.submits == []


@pytest.mark.parametrize(
    ("marker", "status", "kind"), [("[fault:403_html]", 403, "text/html"), ("[fault:gone]", 410, "text/plain")]
)
async def test_a_gateway_speaks_for_itself_and_nothing_runs(
    speaker: Speaker, marker: str, status: int, kind: str
) -> None:
    answer = await speaker.submit(marker)

    assert (answer.status_code, answer.headers["content-type"]) == (status, f"{kind}; charset=utf-8")
    assert speaker.world.sandbox.submits == []


async def test_429_is_for_the_first_submits_of_this_prompt(speaker: Speaker) -> None:
    assert [(await speaker.submit("[fault:429=2]")).status_code for _ in range(3)] == [429, 429, 200]


async def test_retry_after_tells_how_long_to_wait(speaker: Speaker) -> None:
    answer = await speaker.submit("[fault:429, retry_after=7]")

    assert answer.headers.get("retry-after") == "7" or answer.json()["retry_after"] == 7


async def test_500_after_and_reset_after_are_paid_for(speaker: Speaker) -> None:
    assert (await speaker.submit("[fault:500_after]")).status_code == 500
    with pytest.raises(httpx.ReadError):
        await speaker.submit("[fault:reset_after]")

    assert len(speaker.world.sandbox.paid) == 2


async def test_hang_answers_late_and_is_accepted_all_the_same(speaker: Speaker) -> None:
    hanging = asyncio.create_task(speaker.submit("[fault:hang=0.4]"))
    while not speaker.world.sandbox.paid:
        await asyncio.sleep(0)

    assert not hanging.done()
    assert (await hanging).status_code == 200


async def test_slow_takes_as_long_as_it_says(speaker: Speaker) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await speaker.urls("[fault:slow=0.4]")

    assert len(await speaker.urls("[fault:slow=0.01]")) == 1


async def test_held_waits_for_its_release(speaker: Speaker) -> None:
    running = asyncio.create_task(speaker.urls("[fault:held]"))
    while not speaker.world.sandbox.submits:
        await asyncio.sleep(0)
    task_id = speaker.world.sandbox.submits[0].task_id
    await speaker.urls()
    assert speaker.world.sandbox.tasks[task_id].finished_at is None

    assert (await speaker.world.http.post(f"/_sandbox/release/{task_id}")).json() == {"released": True}

    assert len(await running) == 1


async def test_a_reset_lets_go_of_what_is_held(speaker: Speaker) -> None:
    running = asyncio.create_task(speaker.submit("[fault:held]"))
    while not speaker.world.sandbox.submits:
        await asyncio.sleep(0)

    await speaker.world.http.post("/_sandbox/reset")

    assert (await running).status_code == 200


async def test_no_outputs_succeeds_without_any(speaker: Speaker) -> None:
    assert await speaker.urls("[fault:no_outputs]") == []


async def test_more_images_makes_twice_as_many(speaker: Speaker) -> None:
    assert len(set(await speaker.urls("[fault:more_images]"))) == 2


async def test_private_url_points_at_the_metadata_service(speaker: Speaker) -> None:
    assert [httpx.URL(url).host for url in await speaker.urls("[fault:private_url]")] == ["169.254.169.254"]


@pytest.mark.parametrize(
    ("marker", "statuses"),
    [
        ("[fault:image_404]", [404, 404]),
        ("[fault:image_503=1]", [503, 200]),
        ("[fault:redirect]", [302, 302]),
    ],
)
async def test_a_download_is_answered_with_another_status(speaker: Speaker, marker: str, statuses: list[int]) -> None:
    [url] = await speaker.urls(marker)

    assert [(await speaker.world.http.get(url)).status_code for _ in statuses] == statuses


async def test_truncated_is_half_of_it_with_an_honest_length(speaker: Speaker) -> None:
    [url] = await speaker.urls("[fault:truncated=1]")

    half, whole = [(await speaker.world.http.get(url)).content for _ in range(2)]

    assert half == whole[: len(whole) // 2]


async def test_cut_closes_the_connection_in_the_middle(speaker: Speaker) -> None:
    [url] = await speaker.urls("[fault:cut]")

    with pytest.raises(httpx.RemoteProtocolError, match="without sending complete message body"):
        await speaker.world.http.get(url)


async def test_slow_image_trickles_in_and_is_whole(speaker: Speaker) -> None:
    [url] = await speaker.urls("[fault:slow_image=0.3]")

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await speaker.world.http.get(url)
    assert format_of((await speaker.world.http.get(url)).content) in {"JPEG", "PNG"}


async def test_wrong_type_is_a_page(speaker: Speaker) -> None:
    [url] = await speaker.urls("[fault:wrong_type]")

    assert (await speaker.world.http.get(url)).content.startswith(b"<!doctype html>")


async def test_mislabeled_is_png_under_jpegs_name(speaker: Speaker) -> None:
    [url] = await speaker.urls("[fault:mislabeled]")

    answer = await speaker.world.http.get(url)

    assert (httpx.URL(url).path.endswith(".jpeg"), answer.headers["content-type"]) == (True, "image/jpeg")
    assert format_of(answer.content) == "PNG"


async def test_huge_does_not_end(speaker: Speaker) -> None:
    [url] = await speaker.urls("[fault:huge]")

    got = 0
    async with speaker.world.http.stream("GET", url) as answer:
        chunks = answer.aiter_raw()
        while got < 8 * 1024 * 1024:
            got += len(await anext(chunks))
        await chunks.aclose()

    assert "content-length" not in answer.headers
