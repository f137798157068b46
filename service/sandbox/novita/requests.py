"""What a `request` asks to be made, endpoint by endpoint: types, ranges and enums of Novita's pages.

https://novita.ai/docs/api-reference/model-apis-txt2img, …-img2img, …-inpainting, …-upscale
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from service.sandbox.novita.envelopes import Refusal, read_image
from service.sandbox.submissions import ImageType, Wanted, kind_of
from service.sandbox.uploads import Upload

SAMPLERS = {
    *("Euler a", "Euler", "LMS", "Heun", "DPM2", "DPM2 a", "DPM++ 2S a", "DPM++ 2M", "DPM++ SDE", "DPM fast"),
    *("DPM adaptive", "LMS Karras", "DPM2 Karras", "DPM2 a Karras", "DPM++ 2S a Karras", "DPM++ 2M Karras"),
    *("DPM++ SDE Karras", "DDIM", "PLMS", "UniPC"),
}
UPSCALERS = ("RealESRGAN_x4plus_anime_6B", "RealESRNet_x4plus", "4x-UltraSharp")
# name: lowest, highest, whole numbers only, required
Numbers = dict[str, tuple[float, float, bool, bool]]
SIDES: Numbers = {"width": (128, 2048, True, True), "height": (128, 2048, True, True)}
NUMBERS: Numbers = {
    "image_num": (1, 8, True, True),
    "steps": (1, 100, True, True),
    "guidance_scale": (1, 30, False, True),
    "seed": (-1, math.inf, True, False),
    "clip_skip": (1, 12, True, False),
    "strength": (0, 1, False, False),
}
INPAINTING: Numbers = {
    **NUMBERS,
    # The official Python client's default for inpainting is 0, and it writes the two switches as booleans.
    "clip_skip": (0, 12, True, False),
    "mask_blur": (0, 64, True, False),
    "inpainting_full_res": (0, 1, True, False),
    "inpainting_full_res_padding": (0, 256, True, False),
    "inpainting_mask_invert": (0, 1, True, False),
    "initial_noise_multiplier": (0, 1.5, False, False),
}
SWITCHES = ("inpainting_full_res", "inpainting_mask_invert")
MAX_UPSCALED_PIXELS = 40_000_000  # more than that this machine had better not draw
_ANY_SIDE = (16, 4096)
_SIZE = re.compile(r"(\d{2,4})[xX*](\d{2,4})")

Request = dict[str, Any]


def wrong(message: str) -> Refusal:
    """Return the refusal of a body with a mistake."""
    return Refusal("INVALID_REQUEST_BODY", message)


def read_member(parent: Request, name: str) -> Request:
    """Return an object inside of an object, {} when it is absent; raises Refusal for anything else."""
    member = parent.get(name)
    if member is None:
        return {}
    if not isinstance(member, dict):
        raise wrong(f"{name} must be an object")
    return member


def find_request(endpoint: str, whole: Request) -> Request:
    """Return the part of a body that says what to make: `request`, or all of it at the endpoints that don't have one."""
    if endpoint not in _READERS and "request" not in whole:
        return whole
    request = whole.get("request")
    if not isinstance(request, dict):
        raise wrong("request must be an object")
    return request


def read_wanted(endpoint: str, request: Request, image_type: ImageType) -> Wanted:
    """Return what an endpoint shall make; raises Refusal."""
    read = _READERS.get(endpoint)
    return _read_any(endpoint, request, image_type) if read is None else read(request, image_type)


def _read_txt2img(request: Request, image_type: ImageType) -> Wanted:
    numbers = _read_numbers(request, {**SIDES, **NUMBERS})
    _check_names(request)
    return _wanted(numbers, _target(request, "width", numbers), _target(request, "height", numbers), image_type)


def _read_img2img(request: Request, image_type: ImageType) -> Wanted:
    numbers = _read_numbers(request, {**SIDES, **NUMBERS})
    _check_names(request)
    source = _read_base64(request, "image_base64", 10)
    return _wanted(numbers, int(numbers["width"] or 0), int(numbers["height"] or 0), image_type, source)


def _read_inpainting(request: Request, image_type: ImageType) -> Wanted:
    numbers = _read_numbers(request, INPAINTING)
    _check_names(request)
    source = _read_base64(request, "image_base64", 30)
    mask = _read_base64(request, "mask_image_base64", 30)
    if (mask.width, mask.height) != (source.width, source.height):
        raise Refusal("INVALID_IMAGE_SIZE", "mask_image_base64 must have the size of image_base64")
    invert = numbers["inpainting_mask_invert"] == 1
    return _wanted(numbers, source.width, source.height, image_type, source, mask, invert)


def _read_upscale(request: Request, image_type: ImageType) -> Wanted:
    if request.get("model_name") not in UPSCALERS:
        raise wrong(f"model_name must be one of {', '.join(UPSCALERS)}")
    factor = _read_numbers(request, {"scale_factor": (1, 4, False, True)})["scale_factor"] or 1
    if factor == 1:
        raise wrong("scale_factor must be within (1, 4]")
    source = _read_base64(request, "image_base64", 10)
    width, height = round(source.width * factor), round(source.height * factor)
    if width * height > MAX_UPSCALED_PIXELS:
        raise Refusal("IMAGE_EXCEEDS_MAX_RESOLUTION", f"the sandbox makes no more than {MAX_UPSCALED_PIXELS:,} pixels")
    return Wanted(width=width, height=height, image_type=image_type, source=source.data, resized=True)


def _read_any(endpoint: str, request: Request, image_type: ImageType) -> Wanted:
    """Read the request of an endpoint that nobody told us about: whatever of it looks familiar, the rest by default."""
    width, height = _whole(request, "width", *_ANY_SIDE), _whole(request, "height", *_ANY_SIDE)
    size = _SIZE.fullmatch(str(request.get("size")))
    if size is not None and not (width and height):
        width, height = (min(max(int(side), _ANY_SIDE[0]), _ANY_SIDE[1]) for side in size.groups())
    return Wanted(
        kind=kind_of(endpoint),
        count=_whole(request, "image_num", 1, 8) or 1,
        width=width or 512,
        height=height or 512,
        seed=seed if (seed := _whole(request, "seed", 0, 2**64)) is not None else -1,
        image_type=image_type,
    )


_READERS: dict[str, Callable[[Request, ImageType], Wanted]] = {
    "txt2img": _read_txt2img,
    "img2img": _read_img2img,
    "inpainting": _read_inpainting,
    "upscale": _read_upscale,
}


def _wanted(
    numbers: dict[str, float | None],
    width: int,
    height: int,
    image_type: ImageType,
    source: Upload | None = None,
    mask: Upload | None = None,
    invert_mask: bool = False,
) -> Wanted:
    seed, strength = numbers["seed"], numbers["strength"]
    return Wanted(
        count=int(numbers["image_num"] or 1),
        width=width,
        height=height,
        seed=-1 if seed is None else int(seed),
        image_type=image_type,
        source=source.data if source else None,
        strength=0.5 if strength is None else strength,
        mask=mask.data if mask else None,
        invert_mask=invert_mask,
    )


def _read_numbers(request: Request, rules: Numbers) -> dict[str, float | None]:
    return {name: _number(request, name, *rules[name]) for name in rules}


def _number(request: Request, name: str, lowest: float, highest: float, whole: bool, required: bool) -> float | None:
    value = request.get(name)
    if value is None:
        # The official Python client sends a null when img2img_v3 is called without steps.
        if required and not (name == "steps" and name in request):
            raise wrong(f"{name} is required")
        return None
    if isinstance(value, bool) and name in SWITCHES:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        raise wrong(f"{name} must be {'an integer' if whole else 'a number'}")
    if not lowest <= value <= highest:
        raise wrong(f"{name} must be within [{lowest:g}, {highest:g}]")
    return value


def _whole(request: Request, name: str, lowest: int, highest: int) -> int | None:
    """Return a whole number if there is one in its range, else None."""
    value = request.get(name)
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if lowest <= value <= highest else None


def _check_names(request: Request) -> None:
    for name in ("model_name", "prompt", "sampler_name"):
        if not isinstance(request.get(name), str) or not request[name]:
            raise wrong(f"{name} is required")
    if len(request["prompt"]) > 1024:
        raise wrong("prompt must have 1 to 1024 characters")
    if request["sampler_name"] not in SAMPLERS:
        raise wrong("sampler_name is not a known sampler")


def _target(request: Request, name: str, numbers: dict[str, float | None]) -> int:
    """Return a side; if hires_fix names a target, the image that comes out is of that size."""
    side = read_member(request, "hires_fix").get(f"target_{name}")
    if side is None:
        return int(numbers[name] or 0)
    if isinstance(side, bool) or not isinstance(side, int) or not 128 <= side <= 4096:
        raise wrong(f"hires_fix.target_{name} must be within [128, 4096]")
    return side


def _read_base64(request: Request, name: str, max_megabytes: int) -> Upload:
    text = request.get(name)
    if not isinstance(text, str) or not text:
        raise wrong(f"{name} is required")
    return read_image(text, name, max_megabytes)
