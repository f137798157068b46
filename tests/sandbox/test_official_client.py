"""Novita's official Python client, `novita-client`, as it comes from PyPI, against the sandbox.

It is pointed there by its constructor's `base_url`. Of what it has in common with genrelay: txt2img, img2img and inpainting;
it has no method for upscale and none for Seedream. Its videos go through the sandbox's route for any endpoint.
"""

from __future__ import annotations

import asyncio
import base64
import gc
import io
from collections.abc import Iterator

import pytest
from novita_client import NovitaClient
from novita_client.exceptions import NovitaResponseError
from novita_client.proto import (
    CommonV3Extra,
    Img2ImgV3ControlNetUnit,
    Img2ImgV3Request,
    InpaintingRequest,
    Txt2ImgV3Embedding,
    Txt2ImgV3HiresFix,
    Txt2ImgV3LoRA,
    Txt2ImgV3Refiner,
    Txt2ImgV3Request,
    Txt2VideoPrompt,
    V3TaskResponse,
)
from PIL import Image

from service.outputs.formats import tell_format
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


async def test_it_sends_everything_that_txt2img_and_img2img_take(world: World, client: NovitaClient) -> None:
    first = await asyncio.to_thread(
        client.txt2img_v3,
        model_name="sd_xl_base_1.0.safetensors",
        prompt="a lighthouse at dawn",
        negative_prompt="fog",
        width=256,
        height=128,
        image_num=1,
        steps=20,
        clip_skip=1,
        guidance_scale=7.5,
        sampler_name="DPM++ 2M Karras",
        loras=[Txt2ImgV3LoRA("add_detail_44319", 0.7)],
        embeddings=[Txt2ImgV3Embedding("EasyNegative_2256")],
        hires_fix=Txt2ImgV3HiresFix(512, 256, 0.5),
        refiner=Txt2ImgV3Refiner(0.7),
    )
    second = await asyncio.to_thread(
        client.img2img_v3,
        model_name="sd_xl_base_1.0.safetensors",
        input_image=Image.new("RGB", (64, 64), "teal"),
        prompt="a lighthouse at dawn",
        width=256,
        height=128,
        image_num=1,
        steps=20,
        strength=0.5,
        seed=1,
        controlnet_units=[Img2ImgV3ControlNetUnit("control_v11p_sd15_canny", Image.new("RGB", (64, 64), "teal"))],
        nsfw_detection_level=1,
    )

    assert [opened(result.images_encoded[0]).size for result in (first, second)] == [(512, 256), (256, 128)]


async def test_it_runs_inpainting_and_downloads_the_images(world: World, client: NovitaClient) -> None:
    result = await asyncio.to_thread(
        client.inpainting,
        model_name="realisticVisionV40_v40VAE-inpainting_81543.safetensors",
        image=Image.new("RGB", (200, 100), "teal"),
        mask=Image.new("L", (200, 100), 255),
        prompt="a lighthouse at dawn",
        image_num=2,
        sampler_name="Euler a",
        steps=20,
        guidance_scale=7.5,
        seed=1,
        mask_blur=1,
        inpainting_full_res=1,
    )

    assert result.task.task_type == "INPAINTING"
    assert [(opened(image).format, opened(image).size) for image in result.images_encoded] == [("JPEG", (200, 100))] * 2


async def test_its_raw_methods_and_its_waiting_work_too(world: World, client: NovitaClient) -> None:
    wanted = {"model_name": "m", "prompt": "a lake", "steps": 20, "guidance_scale": 7.5, "sampler_name": "Euler a"}
    sized = {"width": 256, "height": 128, "image_num": 1, "seed": 1}
    teal = _encoded(Image.new("RGB", (64, 64), "teal"))

    def run() -> list[V3TaskResponse]:
        painted = {"image_base64": teal, "mask_image_base64": teal, "image_num": 1, "seed": 1}
        submits = [
            client.raw_txt2img_v3(Txt2ImgV3Request(**wanted, **sized), CommonV3Extra()),
            client.raw_img2img_v3(Img2ImgV3Request(**wanted, **sized, image_base64=teal), CommonV3Extra()),
            client.raw_inpainting(InpaintingRequest(**wanted, **painted), CommonV3Extra()),
        ]
        waited = [client.wait_for_task_v3(submit.task_id) for submit in submits]
        return [client.async_task_result(result.task.task_id) for result in waited]

    results = await asyncio.to_thread(run)

    assert [(result.task.task_type, len(result.images)) for result in results] == [
        ("TXT_TO_IMG", 1),
        ("IMG_TO_IMG", 1),
        ("INPAINTING", 1),
    ]


async def test_it_makes_videos_through_endpoints_that_the_sandbox_was_never_told_about(
    world: World, client: NovitaClient
) -> None:
    spoken = await asyncio.to_thread(
        client.txt2video,
        model_name="dreamshaper_8_93211.safetensors",
        prompts=[Txt2VideoPrompt(prompt="a lighthouse at dawn", frames=8)],
        width=256,
        height=128,
        steps=20,
        guidance_scale=7.5,
    )
    drawn = await asyncio.to_thread(
        client.img2video, model_name="SVD", image=Image.new("RGB", (64, 64), "teal"), steps=20, frames_num=14
    )

    assert [result.task.task_type for result in (spoken, drawn)] == ["TXT_TO_VIDEO", "IMG_TO_VIDEO"]
    clips = [tell_format(result.video_bytes[0]) for result in (spoken, drawn)]
    assert [clip.media_type if clip else None for clip in clips] == ["video/mp4", "video/mp4"]


async def test_what_the_sandbox_does_not_have_is_an_error_of_the_clients(client: NovitaClient) -> None:
    with pytest.raises(NovitaResponseError, match="API_NOT_FOUND"):
        await asyncio.to_thread(client.remove_background, Image.new("RGB", (64, 64), "teal"))


def _encoded(image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()
