"""`POST /v3/async/inpainting`: what a mask covers is drawn anew. Its size is the image's, so it takes no width or height.

https://novita.ai/docs/api-reference/model-apis-inpainting
checked 2026-09
"""

from __future__ import annotations

from typing import Annotated, NotRequired

from pydantic import AfterValidator, Field, with_config
from typing_extensions import TypedDict  # pydantic takes typing's own only from Python 3.12 on

from service.providers.checking import STRICT
from service.providers.contract import Json, Mistake
from service.providers.fields import MIB, Base64Image
from service.providers.novita.tasks import pictures
from service.providers.novita.tasks.parts import BASE64, DiffusionRequest, Extra, Ratio
from service.providers.novita.tasks.task import describe_task
from service.providers.replies import read_object

# "30 Mb" on the page, taken as MiB.
Image = Annotated[str, AfterValidator(Base64Image(30 * MIB, max_pixels=16_000_000).check), BASE64]
# A choice of 0 and 1; as a Literal pydantic would take `true` for 1.
Switch = Annotated[int, Field(ge=0, le=1)]


@with_config(STRICT)
class InpaintingRequest(DiffusionRequest):
    """`request` of inpainting."""

    image_base64: Image
    mask_image_base64: Image
    mask_blur: NotRequired[Annotated[int, Field(ge=0, le=64)]]
    strength: NotRequired[Ratio | None]
    inpainting_full_res: NotRequired[Switch]
    inpainting_full_res_padding: NotRequired[Annotated[int, Field(ge=0, le=256)]]
    inpainting_mask_invert: NotRequired[Switch]
    initial_noise_multiplier: NotRequired[Annotated[float, Field(ge=0, le=1.5)]]


@with_config(STRICT)
class InpaintingInput(TypedDict):
    """Body of inpainting."""

    request: InpaintingRequest
    extra: NotRequired[Extra]


def find_mask_mistake(body: Json) -> list[Mistake]:
    """Return the mistake of a mask that is not as large as its image; none while either size is unknown."""
    request = read_object(read_object(body).get("request"))
    image, mask = (pictures.read_size(request.get(name)) for name in ("image_base64", "mask_image_base64"))
    if image is None or mask is None or image == mask:
        return []
    rule = f"must be as large as image_base64: {image[0]} x {image[1]} pixels"
    return [Mistake("input.request.mask_image_base64", rule, f"{mask[0]} x {mask[1]} pixels")]


EXAMPLE: Json = {
    "extra": {"response_image_type": "jpeg"},
    "request": {
        "model_name": "realisticVisionV40_v40VAE-inpainting_81543.safetensors",
        "prompt": "a lighthouse at dawn",
        "negative_prompt": "text, cropped, out of frame, worst quality, low quality, jpeg artifacts, blurry",
        "image_num": 1,
        "steps": 25,
        "seed": -1,
        "clip_skip": 1,
        "guidance_scale": 7.5,
        "sampler_name": "Euler a",
        "mask_blur": 1,
        "inpainting_full_res": 1,
        "inpainting_full_res_padding": 32,
        "inpainting_mask_invert": 0,
        "initial_noise_multiplier": 1,
        "strength": 0.85,
        "image_base64": pictures.IMAGE,
        "mask_image_base64": pictures.MASK,
    },
}

INPAINTING = describe_task("inpainting", InpaintingInput, EXAMPLE, find_more=find_mask_mistake)
