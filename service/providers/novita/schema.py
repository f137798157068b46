"""The bodies of Novita's `txt2img` and `img2img`, as their documentation has them.

https://novita.ai/docs/api-reference/model-apis-txt2img
https://novita.ai/docs/api-reference/model-apis-img2img
checked 2026-09
"""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired

from pydantic import AfterValidator, Field, with_config
from typing_extensions import TypedDict  # pydantic takes typing's own only from Python 3.12 on

from service.providers.checking import STRICT
from service.providers.fields import MIB, Base64Image
from service.providers.ours import CustomStorageSettings, WebhookSettings

Sampler = Literal[
    "Euler a",
    "Euler",
    "LMS",
    "Heun",
    "DPM2",
    "DPM2 a",
    "DPM++ 2S a",
    "DPM++ 2M",
    "DPM++ SDE",
    "DPM fast",
    "DPM adaptive",
    "LMS Karras",
    "DPM2 Karras",
    "DPM2 a Karras",
    "DPM++ 2S a Karras",
    "DPM++ 2M Karras",
    "DPM++ SDE Karras",
    "DDIM",
    "PLMS",
    "UniPC",
]
Preprocessor = Literal[
    "scribble_hed",
    "softedge_hed",
    "scribble_hedsafe",
    "softedge_hedsafe",
    "depth_midas",
    "mlsd",
    "openpose",
    "openpose_face",
    "openpose_faceonly",
    "openpose_full",
    "openpose_hand",
    "dwpose",
    "scribble_pidinet",
    "softedge_pidinet",
    "scribble_pidsafe",
    "softedge_pidsafe",
    "normal_bae",
    "lineart_coarse",
    "lineart_realistic",
    "lineart_anime",
    "lineart",
    "depth_zoe",
    "shuffle",
    "mediapipe_face",
    "canny",
    "depth",
    "depth_leres",
    "depth_leres++",
]
Upscaler = Literal["RealESRGAN_x4plus_anime_6B", "RealESRNet_x4plus", "Latent"]
IpAdapterModel = Literal["ip-adapter_sd15.bin", "ip-adapter_sdxl.bin"]

Ratio = Annotated[float, Field(ge=0, le=1)]
Side = Annotated[int, Field(ge=128, le=2048)]
HiresSide = Annotated[int, Field(ge=128, le=4096)]
Name = Annotated[str, Field(min_length=1)]
Prompt = Annotated[str, Field(min_length=1, max_length=1024)]
# The page says 1 to 1024 here too, and sends "" in its own examples.
NegativePrompt = Annotated[str, Field(max_length=1024)]
# A choice of 0, 1, 2; as a Literal pydantic would take `true` for 1.
NsfwLevel = Annotated[int, Field(ge=0, le=2)]

_BASE64 = Field(json_schema_extra={"contentEncoding": "base64"})
# "10 Mb" on the page, taken as MiB: what lies between, Novita may judge.
SourceImage = Annotated[str, AfterValidator(Base64Image(10 * MIB, max_pixels=16_000_000).check), _BASE64]
ReferenceImage = Annotated[str, AfterValidator(Base64Image(10 * MIB).check), _BASE64]


# --- extra ----------------------------------------------------------------------------------------------------------


@with_config(STRICT)
class EnterprisePlan(TypedDict):
    """Dedicated endpoints."""

    enabled: NotRequired[bool]


@with_config(STRICT)
class Extra(TypedDict):
    """What both operations take besides the request."""

    response_image_type: NotRequired[Literal["png", "webp", "jpeg"]]
    webhook: NotRequired[WebhookSettings]
    custom_storage: NotRequired[CustomStorageSettings]
    enterprise_plan: NotRequired[EnterprisePlan]
    enable_nsfw_detection: NotRequired[bool]
    nsfw_detection_level: NotRequired[NsfwLevel]


# --- request --------------------------------------------------------------------------------------------------------


@with_config(STRICT)
class Lora(TypedDict):
    """A LoRA and how much of it."""

    model_name: Name
    strength: Ratio


@with_config(STRICT)
class Embedding(TypedDict):
    """A textual inversion."""

    model_name: Name


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
class HiresFix(TypedDict):
    """Upscaling while generating."""

    target_width: HiresSide
    target_height: HiresSide
    strength: Ratio
    upscaler: NotRequired[Upscaler]


@with_config(STRICT)
class Refiner(TypedDict):
    """When the refiner takes over."""

    switch_at: Ratio


@with_config(STRICT)
class CommonRequest(TypedDict):
    """What both operations ask for."""

    model_name: Name
    prompt: Prompt
    width: Side
    height: Side
    image_num: Annotated[int, Field(ge=1, le=8)]
    steps: Annotated[int, Field(ge=1, le=100)]
    guidance_scale: Annotated[float, Field(ge=1, le=30)]
    sampler_name: Sampler
    negative_prompt: NotRequired[NegativePrompt]
    seed: NotRequired[Annotated[int, Field(ge=-1)]]
    sd_vae: NotRequired[str]
    # Not in txt2img's table, but in its examples and in the migration guide.
    clip_skip: NotRequired[Annotated[int, Field(ge=1, le=12)]]
    loras: NotRequired[Annotated[list[Lora], Field(max_length=5)]]
    embeddings: NotRequired[Annotated[list[Embedding], Field(max_length=5)]]


@with_config(STRICT)
class Txt2ImgRequest(CommonRequest):
    """`request` of txt2img."""

    hires_fix: NotRequired[HiresFix]
    refiner: NotRequired[Refiner]
    enable_transparent_background: NotRequired[bool]
    restore_faces: NotRequired[bool]


@with_config(STRICT)
class Img2ImgRequest(CommonRequest):
    """`request` of img2img."""

    image_base64: SourceImage
    strength: NotRequired[Ratio | None]
    controlnet: NotRequired[ControlNet]
    ip_adapters: NotRequired[Annotated[list[IpAdapter], Field(max_length=1)]]


@with_config(STRICT)
class Txt2ImgInput(TypedDict):
    """Body of `POST /v3/async/txt2img`."""

    request: Txt2ImgRequest
    extra: NotRequired[Extra]


@with_config(STRICT)
class Img2ImgInput(TypedDict):
    """Body of `POST /v3/async/img2img`."""

    request: Img2ImgRequest
    extra: NotRequired[Extra]
