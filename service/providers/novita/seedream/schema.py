"""The bodies of Seedream 4.0 and 4.5, as Novita's documentation has them: two dialects of the same few fields.

https://novita.ai/docs/api-reference/model-apis-seedream-4-0
https://novita.ai/docs/api-reference/model-apis-seedream-4.5
checked 2026-09

The page of 4.5 lists formats and count of the references; their other limits are those of 4.0.
"""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired

from pydantic import AfterValidator, Field, with_config
from typing_extensions import TypedDict  # pydantic takes typing's own only from Python 3.12 on

from service.providers.checking import STRICT
from service.providers.novita.seedream.references import Reference
from service.providers.novita.seedream.sizes import SizeLimits
from service.providers.ours import OurExtra

# References and images together.
MOST_IMAGES = 15
MOST_REFERENCES_40, MOST_REFERENCES_45 = 10, 14

SIZES_40 = SizeLimits(("1K", "2K", "4K"), min_pixels=1024 * 1024, max_pixels=4096 * 4096)
SIZES_45 = SizeLimits(("2K", "4K"), min_pixels=3_686_400, max_pixels=16_777_216)

_REFERENCE = Field(json_schema_extra={"description": "An http(s) URL, or `data:image/<format>;base64,<base64>`."})
_SIZE_40 = Field(json_schema_extra={"pattern": SIZES_40.pattern, "default": "2048x2048"})
_SIZE_45 = Field(json_schema_extra={"pattern": SIZES_45.pattern, "default": "2048x2048"})

Reference40 = Annotated[str, AfterValidator(Reference(("jpeg", "png")).check), _REFERENCE]
Reference45 = Annotated[str, AfterValidator(Reference(("jpeg", "png", "webp", "bmp", "tiff", "gif")).check), _REFERENCE]
Size40 = Annotated[str, AfterValidator(SIZES_40.check), _SIZE_40]
Size45 = Annotated[str, AfterValidator(SIZES_45.check), _SIZE_45]
# 600 English words are recommended; no limit is documented.
Prompt = Annotated[str, Field(min_length=1)]
Sequence = Annotated[Literal["auto", "disabled"], Field(json_schema_extra={"default": "disabled"})]
Watermark = Annotated[bool, Field(json_schema_extra={"default": True})]
MaxImages = Annotated[int, Field(ge=1, le=MOST_IMAGES, json_schema_extra={"default": MOST_IMAGES})]


@with_config(STRICT)
class Seedream40Input(TypedDict):
    """Body of `POST /v3/seedream-4.0`."""

    prompt: Prompt
    images: NotRequired[Annotated[list[Reference40], Field(max_length=MOST_REFERENCES_40)]]
    size: NotRequired[Size40]
    sequential_image_generation: NotRequired[Sequence]
    max_images: NotRequired[MaxImages]
    watermark: NotRequired[Watermark]
    extra: NotRequired[OurExtra]


@with_config(STRICT)
class SequenceOptions(TypedDict):
    """How many images a sequence may have."""

    max_images: NotRequired[MaxImages]


@with_config(STRICT)
class PromptOptions(TypedDict):
    """How the prompt is rewritten; the page names a mode `fast` too, and says that it is not supported."""

    mode: NotRequired[Literal["standard"]]


@with_config(STRICT)
class Seedream45Input(TypedDict):
    """Body of `POST /v3/seedream-4.5`."""

    prompt: Prompt
    image: NotRequired[Annotated[list[Reference45], Field(min_length=1, max_length=MOST_REFERENCES_45)]]
    size: NotRequired[Size45]
    sequential_image_generation: NotRequired[Sequence]
    sequential_image_generation_options: NotRequired[SequenceOptions]
    optimize_prompt_options: NotRequired[PromptOptions]
    watermark: NotRequired[Watermark]
    extra: NotRequired[OurExtra]
