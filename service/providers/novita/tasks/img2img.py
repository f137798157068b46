"""`POST /v3/async/img2img`: images from an image and a prompt.

https://novita.ai/docs/api-reference/model-apis-img2img
checked 2026-09
"""

from __future__ import annotations

from typing import Annotated, NotRequired

from pydantic import AfterValidator, Field, with_config
from typing_extensions import TypedDict  # pydantic takes typing's own only from Python 3.12 on

from service.providers.checking import STRICT
from service.providers.contract import Json
from service.providers.fields import MIB, Base64Image
from service.providers.novita.tasks import pictures
from service.providers.novita.tasks.choices import IpAdapterModel, Preprocessor
from service.providers.novita.tasks.parts import BASE64, Extra, Name, Ratio, SizedRequest
from service.providers.novita.tasks.task import describe_task

# "10 Mb" on the page, taken as MiB: what lies between, Novita may judge.
SourceImage = Annotated[str, AfterValidator(Base64Image(10 * MIB, max_pixels=16_000_000).check), BASE64]
ReferenceImage = Annotated[str, AfterValidator(Base64Image(10 * MIB).check), BASE64]


@with_config(STRICT)
class ControlNetUnit(TypedDict):
    """One ControlNet with its image."""

    model_name: Name
    image_base64: ReferenceImage
    strength: Ratio
    preprocessor: NotRequired[Preprocessor]
    guidance_start: NotRequired[Ratio]
    guidance_end: NotRequired[Ratio]


@with_config(STRICT)
class ControlNet(TypedDict):
    """All ControlNets."""

    units: list[ControlNetUnit]


@with_config(STRICT)
class IpAdapter(TypedDict):
    """An image as prompt."""

    model_name: IpAdapterModel
    image_base64: ReferenceImage
    strength: Ratio


@with_config(STRICT)
class Img2ImgRequest(SizedRequest):
    """`request` of img2img."""

    image_base64: SourceImage
    strength: NotRequired[Ratio | None]
    controlnet: NotRequired[ControlNet]
    ip_adapters: NotRequired[Annotated[list[IpAdapter], Field(max_length=1)]]


@with_config(STRICT)
class Img2ImgInput(TypedDict):
    """Body of img2img."""

    request: Img2ImgRequest
    extra: NotRequired[Extra]


EXAMPLE: Json = {
    "extra": {"response_image_type": "jpeg"},
    "request": {
        "model_name": "sd_xl_base_1.0.safetensors",
        "prompt": "a lighthouse at dawn",
        "negative_prompt": "",
        "height": 512,
        "width": 384,
        "image_num": 1,
        "steps": 20,
        "seed": -1,
        "clip_skip": 1,
        "guidance_scale": 7.5,
        "sampler_name": "Euler a",
        "loras": [{"model_name": "add_detail_44319", "strength": 0.7}],
        "image_base64": pictures.IMAGE,
    },
}

IMG2IMG = describe_task("img2img", Img2ImgInput, EXAMPLE)
