"""How large an image is, from its header alone: PNG, JPEG and WEBP.

Pillow would do, but opening a file with it warns (decompression bombs, broken EXIF, odd APNG) through filters that all
threads of the process share, walks every chunk before the pixels, and allocates two canvases for a WEBP. These three
headers are short, fixed, and read here in constant memory without a single warning.
"""

from __future__ import annotations

import re
import struct
import zlib

Size = tuple[int, int]

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# A marker may be preceded by any number of fill bytes.
JPEG_MARKER = re.compile(rb"\xff+([\x01-\xfe])")
# Start-of-frame markers carry the size; C4, C8 and CC in the same range mean other things.
JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# Markers without a length: TEM, RST0 to RST7.
JPEG_BARE = frozenset({0x01, *range(0xD0, 0xD8)})
# A 10 MB photo with every kind of metadata has some hundred segments.
JPEG_SEGMENTS = 4096


def read_image_size(data: bytes) -> Size | None:
    """Return width and height of a PNG, JPEG or WEBP in pixels; None when it is none of these, or broken."""
    try:
        size = _read_size(data)
    except (struct.error, IndexError):  # cut off in the middle of the header
        return None
    return size if size and size[0] > 0 and size[1] > 0 else None


def _read_size(data: bytes) -> Size | None:
    if data.startswith(PNG_SIGNATURE):
        return _read_png_size(data)
    if data.startswith(b"\xff\xd8\xff"):
        return _read_jpeg_size(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _read_webp_size(data)
    return None


def _read_png_size(data: bytes) -> Size | None:
    """IHDR is always the first chunk: length 13, name, 13 bytes that begin with the size, CRC over name and bytes."""
    length, name, width, height = struct.unpack_from(">I4sII", data, 8)
    (crc,) = struct.unpack_from(">I", data, 29)
    if length != 13 or name != b"IHDR" or zlib.crc32(data[12:29]) != crc:
        return None
    return width, height


def _read_jpeg_size(data: bytes) -> Size | None:
    position = 2
    for _ in range(JPEG_SEGMENTS):
        match = JPEG_MARKER.match(data, position)
        if match is None:
            return None
        marker, position = match[1][0], match.end()
        if marker in JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", data, position + 3)
            return width, height
        if marker in JPEG_BARE:
            continue
        if marker in {0xD8, 0xD9, 0xDA}:  # another start, the end, or the pixels before any frame
            return None
        (length,) = struct.unpack_from(">H", data, position)
        position += max(length, 2)
    return None


def _read_webp_size(data: bytes) -> Size | None:
    """The first chunk says which of the three kinds it is; each keeps its size elsewhere."""
    kind = data[12:16]
    if kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L" and data[20] == 0x2F:
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8X":
        low, mid, high, *rest = struct.unpack_from("<6B", data, 24)
        return 1 + (low | mid << 8 | high << 16), 1 + (rest[0] | rest[1] << 8 | rest[2] << 16)
    return None
