"""The official Python client, as it comes from PyPI, against the sandbox."""

from __future__ import annotations

import asyncio
import base64
import gc
import io
from collections.abc import Iterator

import pytest
from novita_client import NovitaClient
from novita_client.exceptions import NovitaResponseError
from PIL import Image

from tests.sandbox.conftest import World

# The client leaves the thread pool of its downloads to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed running multiprocessing pool:ResourceWarning")


@pytest.fixture
def client(world: World) -> Iterator[NovitaClient]:
    client = NovitaClient("key", base_url=world.url)
    yield client
    client.session.close()
    gc.collect()


def opened(image: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(image)))


async def test_it_runs_txt2img_and_downloads_the_images(world: World, client: NovitaClient) -> None:
    result = await asyncio.to_thread(
        client.txt2img_v3,
        model_name="sd_xl_base_1.0.safetensors",
        prompt="a lighthouse at dawn",
        width=320,
        height=192,
        image_num=2,
        seed=7,
        download_images=True,
    )

    assert result.task.task_type == "TXT_TO_IMG"
    assert result.extra.seed == 7
    assert [(opened(image).format, opened(image).size) for image in result.images_encoded] == [("JPEG", (320, 192))] * 2


async def test_it_runs_img2img_and_downloads_the_images(world: World, client: NovitaClient) -> None:
    result = await asyncio.to_thread(
        client.img2img_v3,
        model_name="sd_xl_base_1.0.safetensors",
        input_image=Image.new("RGB", (200, 100), "teal"),
        prompt="a lighthouse at dawn",
        width=256,
        height=256,
        image_num=1,
        response_image_type="png",
        enable_nsfw_detection=True,
    )

    assert result.task.task_type == "IMG_TO_IMG"
    assert result.images[0].nsfw_detection_result.valid is True
    assert [(opened(image).format, opened(image).size) for image in result.images_encoded] == [("PNG", (256, 256))]


async def test_it_understands_a_failure(world: World, client: NovitaClient) -> None:
    with pytest.raises(NovitaResponseError, match="TASK_STATUS_FAILED"):
        await asyncio.to_thread(
            client.txt2img_v3, model_name="m", prompt="[fault:failed]", width=256, height=256, image_num=1
        )


async def test_it_waits_for_a_task_that_is_not_finished(
    world: World, client: NovitaClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("novita_client.settings.DEFAULT_POLL_INTERVAL", 0.05)
    seen: list[str] = []

    await asyncio.to_thread(
        client.txt2img_v3,
        model_name="m",
        prompt="[fault:slow=0.2]",
        width=256,
        height=256,
        image_num=1,
        callback=lambda progress: seen.append(progress.task.status.value),
    )

    assert (seen[0], seen[-1]) == ("TASK_STATUS_PROCESSING", "TASK_STATUS_SUCCEED")
