"""Images that come with a request, as base64 text."""

from __future__ import annotations

import base64
import binascii
import io
from dataclasses import dataclass, field
from typing import Literal

from PIL import Image, UnidentifiedImageError

Flaw = Literal["base64", "format", "bytes", "pixels"]


@dataclass(frozen=True, slots=True)
class Upload:
    """An image that somebody sent; file_type: Pillow's name for its format in lower case (`jpeg`)."""

    data: bytes = field(repr=False)
    width: int
    height: int
    file_type: str


class BadUpload(ValueError):  # noqa: N818 - what came, not what went wrong here
    """Text that is no image, or too large a one; `flaw` says which."""

    def __init__(self, flaw: Flaw, message: str) -> None:
        """Take the flaw and a sentence about it."""
        super().__init__(message)
        self.flaw = flaw


def read_upload(text: str, max_bytes: int, max_pixels: int) -> Upload:
    """Return the image that base64 text holds, looking at its header only; raises BadUpload."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadUpload("base64", "the image is not base64") from error
    if len(data) > max_bytes:
        raise BadUpload("bytes", f"the image is larger than {max_bytes // (1024 * 1024)} MB")
    try:
        with Image.open(io.BytesIO(data)) as image:
            (width, height), file_type = image.size, (image.format or "").lower()
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError, RuntimeWarning) as error:
        raise BadUpload("format", "the image is not of a known format") from error
    if width * height > max_pixels:
        raise BadUpload("pixels", f"the image has more than {max_pixels:,} pixels")
    return Upload(data, width, height, file_type)
