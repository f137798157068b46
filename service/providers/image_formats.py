"""What kind of image a file is, and how large, from its header alone: JPEG, PNG, WEBP, BMP, TIFF and GIF.

The first three are measured by `image_header`; the other three are read here, likewise in constant memory and without
looking at a single pixel.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Literal

from service.providers.image_header import PNG_SIGNATURE, Size, read_image_size

Format = Literal["jpeg", "png", "webp", "bmp", "tiff", "gif"]

TIFF_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
TIFF_WIDTH, TIFF_HEIGHT = 256, 257
TIFF_NUMBERS = {1: "B", 3: "H", 4: "I"}
# Width and height are among the first tags: the directory is sorted. What isn't is searched this far.
TIFF_TAGS = 512
BMP_OLD_HEADER = 12
BMP_HEADERS = frozenset({16, 40, 52, 56, 64, 108, 124})


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """An image's format, and its width and height in pixels."""

    format: Format
    size: Size


def read_image_header(data: bytes) -> ImageHeader | None:
    """Return what a file's header says; None when it is none of the six formats, or broken."""
    known = find_format(data)
    if known is None:
        return None
    try:
        size = _read_size(known, data)
    except struct.error:  # cut off in the middle of the header
        return None
    return ImageHeader(known, size) if size and size[0] > 0 and size[1] > 0 else None


def find_format(data: bytes) -> Format | None:
    """Return the format whose signature a file begins with."""
    if data.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if data.startswith(PNG_SIGNATURE):
        return "png"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    if data[:6] in {b"GIF87a", b"GIF89a"}:
        return "gif"
    if data[:4] in TIFF_ORDERS:
        return "tiff"
    return "bmp" if data[:2] == b"BM" else None


def _read_size(known: Format, data: bytes) -> Size | None:
    match known:
        case "gif":
            width, height = struct.unpack_from("<HH", data, 6)
            return width, height
        case "bmp":
            return _read_bmp_size(data)
        case "tiff":
            return _read_tiff_size(data)
        case _:
            return read_image_size(data)


def _read_bmp_size(data: bytes) -> Size | None:
    """The length of the second header tells its version; a negative height only means that rows go downwards."""
    (length,) = struct.unpack_from("<I", data, 14)
    if length == BMP_OLD_HEADER:
        width, height = struct.unpack_from("<HH", data, 18)
    elif length in BMP_HEADERS:
        width, height = struct.unpack_from("<ii", data, 18)
    else:
        return None
    return width, abs(height)


def _read_tiff_size(data: bytes) -> Size | None:
    """The first directory: a count, then twelve bytes per tag: name, type, how many, and the value if it fits."""
    order = TIFF_ORDERS[data[:4]]
    (start,) = struct.unpack_from(order + "I", data, 4)
    (count,) = struct.unpack_from(order + "H", data, start)
    found: dict[int, int] = {}
    for place in range(start + 2, start + 2 + 12 * min(count, TIFF_TAGS), 12):
        tag, kind, values = struct.unpack_from(order + "HHI", data, place)
        if tag in {TIFF_WIDTH, TIFF_HEIGHT} and values == 1 and kind in TIFF_NUMBERS:
            (found[tag],) = struct.unpack_from(order + TIFF_NUMBERS[kind], data, place + 8)
        if len(found) == 2:
            return found[TIFF_WIDTH], found[TIFF_HEIGHT]
    return None
