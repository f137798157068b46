"""Reading a submit of Seedream's in its two dialects. A field of the other dialect is not seen, as upstream.

https://novita.ai/docs/api-reference/model-apis-seedream-4-0, …-seedream-4.5
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from service.sandbox.faults import strip_faults
from service.sandbox.novita.envelopes import Refusal, read_image
from service.sandbox.novita.requests import read_member, wrong
from service.sandbox.novita.submissions import read_prompts_faults
from service.sandbox.submissions import Submission, Wanted
from service.sandbox.uploads import Upload

_MOST_FILES = 15  # references and outputs together
_MOST_REFERENCE_PIXELS = 6000 * 6000
_SIZE = re.compile(r"([0-9]{1,5})x([0-9]{1,5})")
_DATA_URI = re.compile(r"data:image/([a-z]+);base64,")


@dataclass(frozen=True, slots=True)
class SeedreamVersion:
    """What one version calls things, and its limits. nested: max_images lies in an object of its own."""

    references: str
    most_references: int
    reference_types: tuple[str, ...]
    words: dict[str, int]
    least_pixels: int
    nested: bool


_4_0_TYPES = ("jpeg", "png")
_4_5_TYPES = (*_4_0_TYPES, "webp", "bmp", "tiff", "gif")
VERSIONS = {
    "4.0": SeedreamVersion("images", 10, _4_0_TYPES, {"1K": 1024, "2K": 2048, "4K": 4096}, 1024 * 1024, nested=False),
    "4.5": SeedreamVersion("image", 14, _4_5_TYPES, {"2K": 2048, "4K": 4096}, 3_686_400, nested=True),
}


def read_seedream(version: str, body: dict[str, Any]) -> Submission:
    """Read and check a body; raises Refusal with Novita's reason."""
    known, prompt = VERSIONS[version], body.get("prompt")
    if not isinstance(prompt, str) or not prompt:
        raise wrong("prompt is required")
    references = _read_references(known, body)
    source = next((found for found in references if found is not None), None)
    width, height = _read_size(known, body.get("size"))
    wanted = Wanted(
        count=_read_count(known, body, len(references)),
        width=width,
        height=height,
        image_type="jpeg",
        source=source.data if source else None,
        watermark=_read_watermark(body),
    )
    return Submission(
        provider="novita",
        endpoint=f"seedream-{version}",
        prompt=prompt,
        caption=strip_faults(prompt),
        faults=read_prompts_faults(prompt, "seedream"),
        wanted=wanted,
    )


def _read_references(known: SeedreamVersion, body: dict[str, Any]) -> list[Upload | None]:
    """Return the reference images; None stands for one behind a URL, which the sandbox does not fetch."""
    given = body.get(known.references)
    if given is None:
        return []
    if not isinstance(given, list) or len(given) > known.most_references:
        raise wrong(f"{known.references} must be a list of at most {known.most_references} images")
    return [_read_reference(known, item, f"{known.references}[{at}]") for at, item in enumerate(given)]


def _read_reference(known: SeedreamVersion, item: Any, name: str) -> Upload | None:
    if not isinstance(item, str):
        raise wrong(f"{name} must be a URL or a data URI")
    if item.startswith(("http://", "https://")):
        return None
    start = _DATA_URI.match(item)
    if start is None:
        raise wrong(f"{name} must be a URL or data:image/<format>;base64,<data>")
    upload = read_image(item[start.end() :], name, 10, _MOST_REFERENCE_PIXELS)
    if upload.file_type not in known.reference_types:
        raise Refusal("INVALID_IMAGE_FORMAT", f"{name} is of a format that is not taken")
    if min(upload.width, upload.height) <= 14 or not 1 / 3 <= upload.width / upload.height <= 3:
        raise Refusal("INVALID_IMAGE_SIZE", f"{name} is too small or too long")
    return upload


def _read_size(known: SeedreamVersion, size: Any) -> tuple[int, int]:
    if size is None:
        return 2048, 2048
    if not isinstance(size, str):
        raise wrong("size must be a text")
    if size in known.words:
        return known.words[size], known.words[size]
    sides = _SIZE.fullmatch(size)
    width, height = (int(sides[1]), int(sides[2])) if sides else (0, 0)
    if not known.least_pixels <= width * height <= 4096 * 4096 or not 1 / 16 <= width / height <= 16:
        raise wrong(f"size must be one of {', '.join(known.words)}, or WxH within the limits")
    return width, height


def _read_count(known: SeedreamVersion, body: dict[str, Any], references: int) -> int:
    mode = body.get("sequential_image_generation") or "disabled"
    if mode not in ("auto", "disabled"):
        raise wrong("sequential_image_generation must be auto or disabled")
    options = read_member(body, "sequential_image_generation_options") if known.nested else body
    most = options.get("max_images")
    if most is None:
        most = _MOST_FILES
    if isinstance(most, bool) or not isinstance(most, int) or not 1 <= most <= _MOST_FILES:
        raise wrong("max_images must be within [1, 15]")
    return min(most, _MOST_FILES - references) if mode == "auto" else 1


def _read_watermark(body: dict[str, Any]) -> bool:
    watermark = body.get("watermark")
    if watermark is not None and not isinstance(watermark, bool):
        raise wrong("watermark must be a boolean")
    return watermark is not False
