"""Bodies that Novita accepts, and pictures to put into them."""

from __future__ import annotations

import base64
import copy
import io
import struct
import zlib
from typing import Any

from PIL import Image

from service.providers.contract import CheckedInput, Mistake
from service.providers.novita import PROVIDER

REQUEST = {
    "model_name": "sd_xl_base_1.0.safetensors",
    "prompt": "a lighthouse at dawn",
    "width": 512,
    "height": 384,
    "image_num": 1,
    "steps": 20,
    "guidance_scale": 7.5,
    "sampler_name": "Euler a",
}


def draw_picture(kind: str = "PNG", width: int = 3, height: int = 2, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(file, kind, **options)
    return file.getvalue()


def claim_png(width: int, height: int) -> bytes:
    """Return the header of a PNG of any size, without its pixels."""
    ihdr = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + ihdr + struct.pack(">I", zlib.crc32(ihdr))


def encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


PICTURE = encode(draw_picture())
UNIT = {"model_name": "control_v11p_sd15_canny", "image_base64": PICTURE, "strength": 0.5}
ADAPTER = {"model_name": "ip-adapter_sdxl.bin", "image_base64": PICTURE, "strength": 0.5}
HIRES = {"target_width": 1024, "target_height": 768, "strength": 0.5}
STORAGE = {"region": "eu-central-1", "bucket": "acme-renders", "path": "/"}


UNSIZED = {name: value for name, value in REQUEST.items() if name not in {"width", "height"}}
# A request of each operation that has nothing in it but what must be.
REQUESTS: dict[str, dict[str, Any]] = {
    "txt2img": REQUEST,
    "img2img": {**REQUEST, "image_base64": PICTURE},
    "inpainting": {**UNSIZED, "image_base64": PICTURE, "mask_image_base64": PICTURE},
    "upscale": {"model_name": "4x-UltraSharp", "image_base64": PICTURE, "scale_factor": 2},
}


def make_input(operation: str = "txt2img", extra: dict[str, Any] | None = None, **request: Any) -> dict[str, Any]:
    """Return a valid `input`; `request` overrides fields of its request."""
    given: dict[str, Any] = {"request": {**copy.deepcopy(REQUESTS[operation]), **request}}
    return given if extra is None else {**given, "extra": extra}


def unit(**changes: Any) -> dict[str, Any]:
    return {"units": [{**UNIT, **changes}]}


def check(operation: str, body: Any) -> list[Mistake]:
    """Return the mistakes of a body, none for a good one."""
    checked = PROVIDER.check_input(operation, body)
    return checked if isinstance(checked, list) else []


def accept(operation: str, body: Any) -> CheckedInput:
    """Return the checked body of a good one."""
    checked = PROVIDER.check_input(operation, body)
    assert isinstance(checked, CheckedInput), checked
    return checked
