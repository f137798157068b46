"""What the bodies of several operations have in common: `extra`, and most of a request that draws.

https://novita.ai/docs/api-reference/model-apis-txt2img
https://novita.ai/docs/api-reference/model-apis-img2img
https://novita.ai/docs/api-reference/model-apis-inpainting
https://novita.ai/docs/api-reference/model-apis-upscale
checked 2026-09
"""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired

from pydantic import Field, with_config
from typing_extensions import TypedDict  # pydantic takes typing's own only from Python 3.12 on

from service.providers.checking import STRICT
from service.providers.novita.tasks.choices import Sampler
from service.providers.ours import CustomStorageSettings, WebhookSettings

Ratio = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(min_length=1)]
Prompt = Annotated[str, Field(min_length=1, max_length=1024)]
# The page says 1 to 1024 here too, and sends "" in its own examples.
NegativePrompt = Annotated[str, Field(max_length=1024)]
# A choice of 0, 1, 2; as a Literal pydantic would take `true` for 1.
NsfwLevel = Annotated[int, Field(ge=0, le=2)]

BASE64 = Field(json_schema_extra={"contentEncoding": "base64"})


# --- extra ----------------------------------------------------------------------------------------------------------


@with_config(STRICT)
class EnterprisePlan(TypedDict):
    """Dedicated endpoints."""

    enabled: NotRequired[bool]


@with_config(STRICT)
class Extra(TypedDict):
    """What every operation takes besides the request."""

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
class DiffusionRequest(TypedDict):
    """What every operation asks for that draws from a prompt."""

    model_name: Name
    prompt: Prompt
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
class SizedRequest(DiffusionRequest):
    """What every operation asks for that draws in a size of its own."""

    width: Annotated[int, Field(ge=128, le=2048)]
    height: Annotated[int, Field(ge=128, le=2048)]
