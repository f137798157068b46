"""`POST /v3/async/txt2img`: images from a prompt.

https://novita.ai/docs/api-reference/model-apis-txt2img
checked 2026-09
"""

from __future__ import annotations

from typing import Annotated, NotRequired

from pydantic import Field, with_config
from typing_extensions import TypedDict  # pydantic takes typing's own only from Python 3.12 on

from service.providers.checking import STRICT
from service.providers.contract import Json
from service.providers.novita.tasks.choices import HiresUpscaler
from service.providers.novita.tasks.parts import Extra, Ratio, SizedRequest
from service.providers.novita.tasks.task import describe_task

HiresSide = Annotated[int, Field(ge=128, le=4096)]


@with_config(STRICT)
class HiresFix(TypedDict):
    """Upscaling while generating."""

    target_width: HiresSide
    target_height: HiresSide
    strength: Ratio
    upscaler: NotRequired[HiresUpscaler]


@with_config(STRICT)
class Refiner(TypedDict):
    """When the refiner takes over."""

    switch_at: Ratio


@with_config(STRICT)
class Txt2ImgRequest(SizedRequest):
    """`request` of txt2img."""

    hires_fix: NotRequired[HiresFix]
    refiner: NotRequired[Refiner]
    enable_transparent_background: NotRequired[bool]
    restore_faces: NotRequired[bool]


@with_config(STRICT)
class Txt2ImgInput(TypedDict):
    """Body of txt2img."""

    request: Txt2ImgRequest
    extra: NotRequired[Extra]


EXAMPLE: Json = {
    "extra": {"response_image_type": "jpeg"},
    "request": {
        "model_name": "sd_xl_base_1.0.safetensors",
        "prompt": "a lighthouse at dawn",
        "negative_prompt": "",
        "width": 512,
        "height": 384,
        "image_num": 1,
        "steps": 20,
        "seed": 123,
        "clip_skip": 1,
        "guidance_scale": 7.5,
        "sampler_name": "Euler a",
    },
}

TXT2IMG = describe_task("txt2img", Txt2ImgInput, EXAMPLE)
