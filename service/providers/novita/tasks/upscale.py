"""`POST /v3/async/upscale`: one image, larger.

https://novita.ai/docs/api-reference/model-apis-upscale
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
from service.providers.novita.tasks.choices import UpscaleModel
from service.providers.novita.tasks.parts import BASE64, Extra
from service.providers.novita.tasks.task import count_one, describe_task

# "2048x2048" and "30 Mb" on the page: taken as so many pixels of any shape, and as MiB.
Image = Annotated[str, AfterValidator(Base64Image(30 * MIB, max_pixels=2048 * 2048).check), BASE64]


@with_config(STRICT)
class UpscaleRequest(TypedDict):
    """`request` of upscale."""

    model_name: UpscaleModel
    image_base64: Image
    scale_factor: Annotated[float, Field(gt=1, le=4)]


@with_config(STRICT)
class UpscaleInput(TypedDict):
    """Body of upscale."""

    request: UpscaleRequest
    extra: NotRequired[Extra]


EXAMPLE: Json = {
    "extra": {"response_image_type": "jpeg"},
    "request": {"model_name": "RealESRGAN_x4plus_anime_6B", "scale_factor": 2, "image_base64": pictures.IMAGE},
}

UPSCALE = describe_task("upscale", UpscaleInput, EXAMPLE, count_one)
