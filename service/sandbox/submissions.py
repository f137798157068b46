"""Reading a submit the way Novita does: lightly, and with its error names.

Types, ranges and enums are those of the txt2img and img2img pages; a null is taken as absent, as the official Python
client sends one for every parameter that was not given.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import math
from dataclasses import dataclass, field
from typing import Any, Literal

from PIL import Image, UnidentifiedImageError

from service.sandbox.envelopes import Refusal
from service.sandbox.faults import BadFault, Faults, read_faults, strip_faults

Endpoint = Literal["txt2img", "img2img"]

TASK_TYPES: dict[Endpoint, str] = {"txt2img": "TXT_TO_IMG", "img2img": "IMG_TO_IMG"}
IMAGE_TYPES = ("png", "webp", "jpeg")
TEST_STATUSES = ("TASK_STATUS_SUCCEED", "TASK_STATUS_FAILED")
SAMPLERS = {
    *("Euler a", "Euler", "LMS", "Heun", "DPM2", "DPM2 a", "DPM++ 2S a", "DPM++ 2M", "DPM++ SDE", "DPM fast"),
    *("DPM adaptive", "LMS Karras", "DPM2 Karras", "DPM2 a Karras", "DPM++ 2S a Karras", "DPM++ 2M Karras"),
    *("DPM++ SDE Karras", "DDIM", "PLMS", "UniPC"),
}
# name: lowest, highest, whole numbers only, required
NUMBERS: dict[str, tuple[float, float, bool, bool]] = {
    "width": (128, 2048, True, True),
    "height": (128, 2048, True, True),
    "image_num": (1, 8, True, True),
    "steps": (1, 100, True, True),
    "guidance_scale": (1, 30, False, True),
    "seed": (-1, math.inf, True, False),
    "clip_skip": (1, 12, True, False),
    "strength": (0, 1, False, False),
}
MAX_IMAGE_BYTES = 10 * 1024 * 1024
MAX_IMAGE_PIXELS = 16_000_000


@dataclass(frozen=True, slots=True)
class Submission:
    """A submit that Novita would accept.

    caption: the prompt without fault markers. seed: -1 means a random one. source: the decoded image_base64 of an
    img2img. webhook_url: a secret as a rule. test_status: what a test-mode event shall claim; None when it is no test.
    """

    endpoint: Endpoint
    prompt: str
    caption: str
    width: int
    height: int
    image_num: int
    seed: int
    image_type: str
    nsfw_detection: bool
    faults: Faults
    webhook_url: str | None = field(default=None, repr=False)
    test_status: str | None = None
    source: bytes | None = field(default=None, repr=False)
    strength: float = 0.5


def read_submission(endpoint: Endpoint, body: bytes) -> Submission:
    """Read and check the body of a submit; raises Refusal with Novita's reason."""
    whole = _read_object(body)
    request, extra = _member(whole, "request", required=True), _member(whole, "extra")
    numbers = {name: _number(request, name) for name in NUMBERS}
    _check_names(request)
    webhook_url, test_status = _read_webhook(extra)
    prompt = request["prompt"]
    strength = numbers["strength"]
    return Submission(
        endpoint=endpoint,
        prompt=prompt,
        caption=strip_faults(prompt),
        width=_target(request, "target_width") or int(numbers["width"] or 0),
        height=_target(request, "target_height") or int(numbers["height"] or 0),
        image_num=int(numbers["image_num"] or 1),
        seed=-1 if numbers["seed"] is None else int(numbers["seed"]),
        image_type=_read_image_type(extra),
        nsfw_detection=extra.get("enable_nsfw_detection") is True,
        faults=_read_faults(prompt),
        webhook_url=webhook_url,
        test_status=test_status,
        source=_read_source(request) if endpoint == "img2img" else None,
        strength=0.5 if strength is None else strength,
    )


def _wrong(message: str) -> Refusal:
    return Refusal("INVALID_REQUEST_BODY", message)


def _read_object(body: bytes) -> dict[str, Any]:
    try:
        whole = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise _wrong("the request body is not JSON") from error
    if not isinstance(whole, dict):
        raise _wrong("the request body is not a JSON object")
    return whole


def _member(parent: dict[str, Any], name: str, required: bool = False) -> dict[str, Any]:
    member = parent.get(name)
    if member is None and not required:
        return {}
    if not isinstance(member, dict):
        raise _wrong(f"{name} must be an object")
    return member


def _number(request: dict[str, Any], name: str) -> float | None:
    lowest, highest, whole, required = NUMBERS[name]
    value = request.get(name)
    if value is None:
        # The official Python client sends a null when img2img_v3 is called without steps.
        if required and not (name == "steps" and name in request):
            raise _wrong(f"{name} is required")
        return None
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        raise _wrong(f"{name} must be {'an integer' if whole else 'a number'}")
    if not lowest <= value <= highest:
        raise _wrong(f"{name} must be within [{lowest:g}, {highest:g}]")
    return value


def _check_names(request: dict[str, Any]) -> None:
    for name in ("model_name", "prompt", "sampler_name"):
        if not isinstance(request.get(name), str) or not request[name]:
            raise _wrong(f"{name} is required")
    if len(request["prompt"]) > 1024:
        raise _wrong("prompt must have 1 to 1024 characters")
    if request["sampler_name"] not in SAMPLERS:
        raise _wrong("sampler_name is not a known sampler")


def _target(request: dict[str, Any], name: str) -> int:
    """Return a side that hires_fix asks for: the image that comes out then is of that size."""
    side = _member(request, "hires_fix").get(name)
    if side is None:
        return 0
    if isinstance(side, bool) or not isinstance(side, int) or not 128 <= side <= 4096:
        raise _wrong(f"hires_fix.{name} must be within [128, 4096]")
    return side


def _read_image_type(extra: dict[str, Any]) -> str:
    image_type = extra.get("response_image_type")
    if image_type is None:
        return "png"
    if image_type not in IMAGE_TYPES:
        raise _wrong("extra.response_image_type must be one of png, webp, jpeg")
    return str(image_type)


def _read_webhook(extra: dict[str, Any]) -> tuple[str | None, str | None]:
    if extra.get("webhook") is None:
        return None, None
    webhook = _member(extra, "webhook")
    url = webhook.get("url")
    if not isinstance(url, str) or not url.startswith(("http://", "https://")):
        raise _wrong("extra.webhook.url must be a URL")
    test_mode = _member(webhook, "test_mode")
    if test_mode.get("enabled") is not True:
        return url, None
    status = test_mode.get("return_task_status")
    if status not in TEST_STATUSES:
        raise _wrong("extra.webhook.test_mode.return_task_status must be TASK_STATUS_SUCCEED or TASK_STATUS_FAILED")
    return url, str(status)


def _read_faults(prompt: str) -> Faults:
    try:
        return read_faults(prompt)
    except BadFault as error:
        raise _wrong(str(error)) from error


def _read_source(request: dict[str, Any]) -> bytes:
    text = request.get("image_base64")
    if not isinstance(text, str) or not text:
        raise _wrong("image_base64 is required")
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refusal("INVALID_IMAGE_FORMAT", "image_base64 is not base64") from error
    if len(data) > MAX_IMAGE_BYTES:
        raise Refusal("IMAGE_FILE_EXCEEDS_MAX_SIZE", "the image is larger than 10 MB")
    try:
        with Image.open(io.BytesIO(data)) as image:
            width, height = image.size
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
        raise Refusal("INVALID_IMAGE_FORMAT", "image_base64 is not an image") from error
    if width * height > MAX_IMAGE_PIXELS:
        raise Refusal("IMAGE_EXCEEDS_MAX_RESOLUTION", "the image has more than 16 megapixels")
    return data
