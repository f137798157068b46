"""Seedream 4.0 and 4.5 at Novita: images from a prompt and references, as the answer to the request itself.

https://novita.ai/docs/api-reference/model-apis-seedream-4-0
https://novita.ai/docs/api-reference/model-apis-seedream-4.5
checked 2026-09

What is odd about them: no task, no webhook, no test mode, and two dialects. The references are `images` in the one and
`image` in the other, `max_images` is at the top or nested; and as what is unknown is ignored, mixing them up costs an image
that has nothing to do with what was asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from service.providers.checking import InputCheck
from service.providers.contract import Json, Operation
from service.providers.novita.dialect import Dialect
from service.providers.novita.seedream import schema
from service.providers.novita.seedream.answers import read_submit
from service.providers.novita.seedream.inputs import BodyCheck

CHECK_40 = BodyCheck(
    shape=InputCheck(schema.Seedream40Input),
    references="images",
    most_references=schema.MOST_REFERENCES_40,
    max_images=("max_images",),
    foreign={
        "image": "seedream-4.0 takes `images` and would ignore this",
        "sequential_image_generation_options": "seedream-4.0 takes `max_images` beside `prompt` and would ignore this",
        "optimize_prompt_options": "only seedream-4.5 takes it, seedream-4.0 would ignore this",
    },
)
CHECK_45 = BodyCheck(
    shape=InputCheck(schema.Seedream45Input),
    references="image",
    most_references=schema.MOST_REFERENCES_45,
    max_images=("sequential_image_generation_options", "max_images"),
    foreign={
        "images": "seedream-4.5 takes `image` (a list) and would ignore this",
        "max_images": "seedream-4.5 takes `sequential_image_generation_options.max_images` and would ignore this",
    },
)

# The pages' own examples, with values for their placeholders.
EXAMPLE_40: Json = {
    "prompt": "a lighthouse at dawn, in the style of the picture",
    "images": ["https://images.example/harbour.png"],
    "size": "2048x2048",
    "sequential_image_generation": "auto",
    "max_images": 3,
    "watermark": True,
}
EXAMPLE_45: Json = {
    "size": "2048x2048",
    "image": ["https://images.example/harbour.png"],
    "prompt": "a lighthouse at dawn, in the style of the picture",
    "watermark": True,
    "optimize_prompt_options": {"mode": "standard"},
    "sequential_image_generation": "auto",
    "sequential_image_generation_options": {"max_images": 3},
}


def _describe(name: str, check: BodyCheck, example: Json) -> Dialect:
    operation = Operation(
        name,
        f"/v3/{name}",
        check.shape.schema,
        example=example,
        answers="result",
        takes_webhook=False,
        outputs_anywhere=True,
    )
    return Dialect(operation, check.check, check.count_images, read_submit)


SEEDREAM: Mapping[str, Dialect] = MappingProxyType(
    {
        "seedream-4.0": _describe("seedream-4.0", CHECK_40, EXAMPLE_40),
        "seedream-4.5": _describe("seedream-4.5", CHECK_45, EXAMPLE_45),
    }
)
