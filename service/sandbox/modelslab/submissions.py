"""Reading a submit the way ModelsLab does: lightly, and numbers may be text.

https://docs.modelslab.com/enterprise-api/text-to-image/inpainting
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from service.sandbox.faults import BadFault, Faults, read_faults, strip_faults
from service.sandbox.modelslab.envelopes import Refused
from service.sandbox.submissions import Submission, Wanted, find_prompt, kind_of
from service.sandbox.uploads import BadUpload, Upload, read_upload

# The products whose page is known; at the others whatever looks familiar is used, and nothing refused.
IMAGES = ("", "images")
SOURCES = {"img2img": ("init_image",), "inpaint": ("init_image", "mask_image")}
_MAX_BYTES, _MAX_PIXELS = 30 * 1024 * 1024, 16_000_000
_LONGEST_ECHO = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelsLabSubmission(Submission):
    """A submit. product: "" at the endpoints without one. meta: what answers repeat of the request, never its key."""

    product: str = ""
    track_id: str | int | None = None
    meta: dict[str, Any] = field(default_factory=dict, repr=False)


def read_submission(product: str, name: str, body: dict[str, Any]) -> ModelsLabSubmission:
    """Read and check the body of a submit, whose key is already checked; raises Refused."""
    prompt, strict = find_prompt(body), product in IMAGES
    if strict and not prompt and name != "super_resolution":
        raise Refused(400, "prompt is required")
    faults, wanted = _read_faults(prompt), _read_wanted(product, name, body, strict)
    return ModelsLabSubmission(
        provider="modelslab",
        endpoint=f"{product}/{name}" if product else name,
        prompt=prompt,
        caption=strip_faults(prompt),
        faults=faults,
        wanted=wanted,
        webhook_url=_read_webhook(body),
        product=product,
        track_id=_read_track_id(body),
        meta=_read_meta(body, wanted, faults),
    )


def _read_faults(prompt: str) -> Faults:
    try:
        return read_faults(prompt, "modelslab")
    except BadFault as bad:
        raise Refused(400, str(bad)) from bad


def _read_wanted(product: str, name: str, body: dict[str, Any], strict: bool) -> Wanted:
    encoded = body.get("base64") in ("yes", True)
    sources = _read_sources(name, body, encoded) if strict else {}
    source, mask = sources.get("init_image"), sources.get("mask_image")
    if strict:
        _number(body, "num_inference_steps", 1, 50, strict)
        _number(body, "guidance_scale", 1, 20, strict)
    seed, strength = _number(body, "seed", 0, 2**64, strict=False), _number(body, "strength", 0, 1, strict)
    return Wanted(
        kind=kind_of(f"{product}/{name}"),
        count=int(_number(body, "samples", 1, 4, strict) or 1),
        width=int(_number(body, "width", 64, 1024, strict) or (min(source.width, 1024) if source else 512)),
        height=int(_number(body, "height", 64, 1024, strict) or (min(source.height, 1024) if source else 512)),
        seed=-1 if seed is None else int(seed),
        image_type="png",
        source=source.data if source else None,
        strength=0.7 if strength is None else strength,
        mask=mask.data if mask else None,
        encoded=encoded,
    )


def _read_sources(name: str, body: dict[str, Any], encoded: bool) -> dict[str, Upload | None]:
    """Return the images that come with the request; None stands for one behind a URL, which the sandbox does not fetch."""
    return {source: _read_source(body, source, encoded) for source in SOURCES.get(name, ())}


def _read_source(body: dict[str, Any], name: str, encoded: bool) -> Upload | None:
    given = body.get(name)
    if not isinstance(given, str) or not given:
        raise Refused(400, f"{name} is required")
    if given.startswith(("http://", "https://")):
        return None
    if not encoded:
        raise Refused(400, "Unable to fetch image from provided URL")
    try:
        return read_upload(given.rpartition(";base64,")[2], _MAX_BYTES, _MAX_PIXELS)
    except BadUpload as bad:
        raise Refused(400, f"{name}: {bad}") from bad


def _number(body: dict[str, Any], name: str, lowest: float, highest: float, strict: bool) -> float | None:
    """Return a number, which may have come as text; without `strict` one that is wrong counts as absent."""
    value = body.get(name)
    if value is None or value == "":
        return None
    number = _to_number(value)
    if number is not None and lowest <= number <= highest:
        return number
    if strict:
        raise Refused(400, f"{name} must be between {lowest:g} and {highest:g}")
    return None


def _to_number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return None


def _read_webhook(body: dict[str, Any]) -> str | None:
    url = body.get("webhook")
    if url is None or url == "":
        return None
    if not isinstance(url, str) or not url.startswith(("http://", "https://")):
        raise Refused(400, "webhook must be a valid URL")
    return url


def _read_track_id(body: dict[str, Any]) -> str | int | None:
    track_id = body.get("track_id")
    return track_id if isinstance(track_id, str | int) and not isinstance(track_id, bool) else None


def _read_meta(body: dict[str, Any], wanted: Wanted, faults: Faults) -> dict[str, Any]:
    hidden = {"key", *(("webhook", "track_id") if "no_echo" in faults else ())}
    told = {name: value for name, value in body.items() if name not in hidden and _is_told(value)}
    return {**told, "W": wanted.width, "H": wanted.height}


def _is_told(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= _LONGEST_ECHO
    return value is None or isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value))
