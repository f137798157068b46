"""The tiny pictures of the examples, and how large a base64 picture is."""

from __future__ import annotations

import base64
import binascii

from service.providers.contract import Json
from service.providers.image_header import Size, read_image_size

# A beach with a tower, and a mask over the tower: PNG, 64 x 64.
IMAGE = (
    "iVBORw0KGgoAAAANSUhEUgAAAEAAAABABAMAAABYR2ztAAAAElBMVEVgoMgoPFDw3KAAAAAAAAAAAAC1KiLpAAAANElEQVR42mNgGAWjAAEYUblKDAwM91BE"
    "mAiZMKpgVMGoAlooYBHEEBIcdI5kFByNrBGkAADJjAGUQyiwEwAAAABJRU5ErkJggg=="
)
MASK = (
    "iVBORw0KGgoAAAANSUhEUgAAAEAAAABAAQAAAACCEkxzAAAAG0lEQVR42mNgoBrg////AwMDE4w7ysDKGGYAAC7OAz5LTJM/AAAAAElFTkSuQmCC"
)
# Nearly every header lies within the first 48 KiB; only for the others all of the picture is decoded.
HEAD_CHARACTERS = 2**16


def read_size(text: Json) -> Size | None:
    """Return width and height of a PNG, JPEG or WEBP in base64; None for anything else, never raises."""
    if not isinstance(text, str):
        return None
    return _read_size(text[:HEAD_CHARACTERS]) or (_read_size(text) if len(text) > HEAD_CHARACTERS else None)


def _read_size(text: str) -> Size | None:
    try:
        return read_image_size(base64.b64decode(text, validate=True))
    except (ValueError, binascii.Error):
        return None
