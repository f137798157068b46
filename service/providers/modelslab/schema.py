"""The bodies of ModelsLab's enterprise `text2img`, `img2img` and `inpaint`, as their documentation has them.

https://docs.modelslab.com/enterprise-api/text-to-image/text2img
https://docs.modelslab.com/enterprise-api/text-to-image/img2img
https://docs.modelslab.com/enterprise-api/text-to-image/inpainting
checked 2026-09

null is allowed where the pages' own examples send it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from pydantic import AfterValidator, ConfigDict, Field, WithJsonSchema, with_config
from typing_extensions import TypedDict  # pydantic takes typing's own only from Python 3.12 on

from service.providers.checking import STRICT
from service.providers.modelslab.scalars import (
    LONGEST_TRACK_ID,
    NumberOrText,
    Strengths,
    YesNo,
    check_names,
    check_track_id,
)
from service.providers.ours import HttpUrl, OurExtra

Scheduler = Literal[
    "DDPMScheduler",
    "DDIMScheduler",
    "PNDMScheduler",
    "LMSDiscreteScheduler",
    "EulerDiscreteScheduler",
    "EulerAncestralDiscreteScheduler",
    "DPMSolverMultistepScheduler",
    "HeunDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "DPMSolverSinglestepScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "UniPCMultistepScheduler",
    "DDIMInverseScheduler",
    "DEISMultistepScheduler",
    "IPNDMScheduler",
    "KarrasVeScheduler",
    "ScoreSdeVeScheduler",
    "LCMScheduler",
]
SafetyCheckerType = Literal["blur", "sensitive_content_text", "pixelate", "black"]
IpAdapter = Literal[
    "ip-adapter_sdxl",
    "ip-adapter_sd15",
    "ip-adapter-plus-face_sd15",
    "ip-adapter-plus_sdxl_vit-h",
    "ip-adapter-plus-face_sdxl_vit-h",
]

# These pages document the maximum only. Others say 256 and more, divisible by 8: for ModelsLab to judge. Below 64 there
# is nothing to judge: Stable Diffusion works on an eighth of the side, and halves that three times.
_SIDE = NumberOrText(64, 1024, whole=True)
_SAMPLES = NumberOrText(1, 4, whole=True)
# The text says 21, 31, 41, the examples beside it send "20" and "30".
_STEPS = NumberOrText(whole=True, among=(20, 21, 30, 31, 41))
_GUIDANCE = NumberOrText(1, 20)
_RATIO = NumberOrText(0, 1)
_SEED = NumberOrText(whole=True)
_CLIP_SKIP = NumberOrText(1, 8, whole=True)
_STRENGTHS = Strengths(0.1, 1)

Name = Annotated[str, Field(min_length=1)]
Side = Annotated[Any, AfterValidator(_SIDE.check), WithJsonSchema(_SIDE.schema)]
Samples = Annotated[Any, AfterValidator(_SAMPLES.check), WithJsonSchema(_SAMPLES.schema)]
Steps = Annotated[Any, AfterValidator(_STEPS.check), WithJsonSchema(_STEPS.schema)]
Guidance = Annotated[Any, AfterValidator(_GUIDANCE.check), WithJsonSchema(_GUIDANCE.schema)]
Ratio = Annotated[Any, AfterValidator(_RATIO.check), WithJsonSchema(_RATIO.schema)]
Seed = Annotated[Any, AfterValidator(_SEED.check), WithJsonSchema(_SEED.schema)]
ClipSkip = Annotated[Any, AfterValidator(_CLIP_SKIP.check), WithJsonSchema(_CLIP_SKIP.schema)]
LoraModels = Annotated[str, AfterValidator(check_names)]
LoraStrengths = Annotated[Any, AfterValidator(_STRENGTHS.check), WithJsonSchema(_STRENGTHS.schema)]
# A URL or base64, whichever `base64` asks for: what is in it, `inputs` checks.
Picture = Annotated[str, Field(min_length=1)]
# "string" on the page; numbers are seen in clients.
_TRACK_ID = {"type": ["string", "integer"], "maxLength": LONGEST_TRACK_ID}
TrackId = Annotated[Any, AfterValidator(check_track_id), WithJsonSchema(_TRACK_ID)]


@with_config(STRICT)
class CommonInput(TypedDict):
    """What all three take."""

    model_id: Name
    prompt: Name
    negative_prompt: NotRequired[str | None]
    width: NotRequired[Side]
    height: NotRequired[Side]
    samples: NotRequired[Samples]
    num_inference_steps: NotRequired[Steps]
    # What the page's samples in JavaScript, PHP, Node and Python call it.
    steps: NotRequired[Steps]
    safety_checker: NotRequired[YesNo]
    safety_checker_type: NotRequired[SafetyCheckerType]
    enhance_prompt: NotRequired[YesNo]
    guidance_scale: NotRequired[Guidance]
    tomesd: NotRequired[YesNo]
    use_karras_sigmas: NotRequired[YesNo]
    algorithm_type: NotRequired[Literal["none", "dpmsolver+++"]]
    scheduler: NotRequired[Scheduler]
    seed: NotRequired[Seed | None]
    vae: NotRequired[str | None]
    lora_model: NotRequired[LoraModels | None]
    lora_strength: NotRequired[LoraStrengths | None]
    clip_skip: NotRequired[ClipSkip]
    base64: NotRequired[YesNo]
    temp: NotRequired[YesNo]
    webhook: NotRequired[HttpUrl | None]
    track_id: NotRequired[TrackId | None]
    extra: NotRequired[OurExtra]


@with_config(STRICT)
class Text2ImgInput(CommonInput):
    """Body of `POST /api/v1/enterprise/text2img`."""

    panorama: NotRequired[YesNo]
    self_attention: NotRequired[YesNo]
    upscale: NotRequired[YesNo]
    highres_fix: NotRequired[YesNo]


@with_config(STRICT)
class Img2ImgInput(CommonInput):
    """Body of `POST /api/v1/enterprise/img2img`."""

    init_image: Picture
    strength: NotRequired[Ratio]
    # Only in the page's edition of 2025.
    loadbalancer: NotRequired[YesNo]
    ip_adapter_id: NotRequired[IpAdapter]
    ip_adapter_scale: NotRequired[Ratio]
    ip_adapter_image: NotRequired[HttpUrl]


@with_config(STRICT)
class InpaintInput(CommonInput):
    """Body of `POST /api/v1/enterprise/inpaint`."""

    init_image: Picture
    mask_image: Picture
    strength: NotRequired[Ratio]


@with_config(ConfigDict(strict=True, extra="allow", allow_inf_nan=False))
class FreeInput(TypedDict):
    """Body of an operation that only the settings know: whatever it is, but for what is ours in it."""

    webhook: NotRequired[HttpUrl | None]
    track_id: NotRequired[TrackId | None]
    extra: NotRequired[OurExtra]
