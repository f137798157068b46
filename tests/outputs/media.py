"""Files for tests: pictures that Pillow makes, and bytes put together piece by piece, so that they can be cut anywhere."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from functools import cache
from itertools import accumulate

from PIL import Image

SIZE = (67, 45)


@cache
def picture(name: str, *, mode: str = "RGB", size: tuple[int, int] = SIZE, **options: object) -> bytes:
    """A picture of 67 x 45 pixels as Pillow writes it."""
    return saved(Image.linear_gradient("L").resize(size).convert("RGB").convert(mode), name, **options)


@cache
def animation(name: str, frames: int = 3, **options: object) -> bytes:
    """An animation (or a file with several pages) as Pillow writes it; no two frames are alike."""
    images = [Image.new("RGB", SIZE, (40 * index % 256, index, 255 - index % 256)) for index in range(frames)]
    return saved(images[0], name, save_all=True, append_images=images[1:], **options)


def saved(image: Image.Image, name: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, name, **options)  # type: ignore[arg-type]
    return file.getvalue()


def prefixes(pieces: Sequence[bytes]) -> list[bytes]:
    """What a file looks like that was cut between two of its pieces, or within one just before its end."""
    whole = b"".join(pieces)
    ends = [end for end in accumulate(map(len, pieces)) if end < len(whole)]
    return [whole[:end] for end in sorted({*ends, *(end - 1 for end in ends if end > 1), len(whole) - 1})]


# JPEG


def segment(code: int, content: bytes) -> bytes:
    return b"\xff" + bytes([code]) + struct.pack(">H", len(content) + 2) + content


def sof(width: int, height: int, code: int = 0xC0) -> bytes:
    return segment(code, b"\x08" + struct.pack(">HH", height, width) + b"\x01\x01\x11\x00")


SOS = segment(0xDA, b"\x01\x01\x00\x00\x3f\x00")
JPEG = [
    b"\xff\xd8",
    segment(0xE0, b"JFIF\0"),
    segment(0xE1, picture("JPEG")),
    sof(67, 45),
    SOS,
    bytes(5000),
    b"\xff\xd9",
]

# PNG


def chunk(name: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def ihdr(width: int, height: int, *, interlaced: bool = False) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, int(interlaced)))


def actl(frames: int) -> bytes:
    return chunk(b"acTL", struct.pack(">II", frames, 0))


def fctl(number: int, width: int, height: int, left: int = 0, top: int = 0) -> bytes:
    return chunk(b"fcTL", struct.pack(">5IHHBB", number, width, height, left, top, 1, 10, 0, 0))


PNG_MARK = b"\x89PNG\r\n\x1a\n"
IDAT = chunk(b"IDAT", bytes(3000))
IEND = chunk(b"IEND")
PNG = [PNG_MARK, ihdr(67, 45), chunk(b"tEXt", b"IEND\xaeB`\x82"), IDAT, IDAT, IEND]
APNG = [PNG_MARK, ihdr(67, 45), actl(2), fctl(0, 67, 45), IDAT, fctl(1, 7, 5, 60, 40), chunk(b"fdAT", bytes(99)), IEND]

# GIF


def screen(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0, 0, 0)


def gif_frame(width: int, height: int, left: int = 0, top: int = 0, *, local: bool = False) -> bytes:
    flags = 0x81 if local else 0
    return b"," + struct.pack("<4HB", left, top, width, height, flags) + bytes(12 if local else 0) + b"\x08"


GIF_DATA = b"\xff" + b";" * 255 + b"\x03,!;"  # blocks that look like others within
GIF = [
    screen(67, 45),
    b"!\xfe\x05hello\0",
    gif_frame(67, 45, local=True),
    GIF_DATA,
    b"\0",
    gif_frame(1, 1, 66, 44),
    b"\0",
    b";",
]

# WebP, WAV


def riff(kind: bytes, content: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", 4 + len(content)) + kind + content


def riff_chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)


def vp8(width: int, height: int) -> bytes:
    return riff_chunk(b"VP8 ", b"\x30\x01\0\x9d\x01\x2a" + struct.pack("<HH", width, height) + bytes(31))


def vp8l(width: int, height: int) -> bytes:
    return riff_chunk(b"VP8L", b"\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14) + bytes(31))


def vp8x(width: int, height: int) -> bytes:
    return riff_chunk(b"VP8X", b"\2\0\0\0" + struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3])


def anmf(width: int, height: int, left: int = 0, top: int = 0, content: bytes | None = None) -> bytes:
    numbers = (left // 2, top // 2, width - 1, height - 1, 100)
    header = b"".join(struct.pack("<I", number)[:3] for number in numbers) + b"\0"
    return riff_chunk(b"ANMF", header + (vp8l(width, height) if content is None else content))


WAV = riff(b"WAVE", b"fmt \x10\0\0\0" + bytes(16) + b"data" + struct.pack("<I", 100) + bytes(100))


def split(body: bytes, *ends: int) -> list[bytes]:
    """Cut a file, so that it can be cut there."""
    return [body[start:end] for start, end in zip((0, *ends), (*ends, len(body)), strict=True)]


WEBP = split(riff(b"WEBP", vp8(67, 45)), 4, 8, 12, 20, 30)
ANIMATED_WEBP = split(riff(b"WEBP", vp8x(67, 45) + anmf(67, 45) + anmf(7, 5, 60, 40)), 4, 8, 12, 20, 30, 38, 54, 62)

# BMP, TIFF


def bmp(width: int, height: int, pixels: int = 100) -> bytes:
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, pixels, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + pixels, 0, 0, 54) + header + bytes(pixels)


def tiff_page(fields: Sequence[tuple[int, int, int, int]], following: int = 0) -> bytes:
    """A page's index out of (tag, type, count, value or offset), all 32 bits wide."""
    return (
        struct.pack("<H", len(fields))
        + b"".join(struct.pack("<HHII", *f) for f in fields)
        + struct.pack("<I", following)
    )


def tiff_fields(width: int, height: int, at: int = 4, length: int = 4) -> list[tuple[int, int, int, int]]:
    return [(256, 4, 1, width), (257, 4, 1, height), (273, 4, 1, at), (279, 4, 1, length)]


def tiff(*pages: Sequence[tuple[int, int, int, int]]) -> bytes:
    """A file of pages that lie one behind the other."""
    body, at = b"II*\0\x08\0\0\0", 8
    for number, fields in enumerate(pages, 1):
        at += 6 + 12 * len(fields)
        body += tiff_page(fields, at if number < len(pages) else 0)
    return body


# Video, MP3


def box(name: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I", 8 + len(content)) + name + content


def long_box(name: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I", 1) + name + struct.pack(">Q", 16 + len(content)) + content


FTYP = box(b"ftyp", b"isom\0\0\2\0isomiso2")
MP4 = [FTYP, box(b"mdat", bytes(1000)), long_box(b"free", bytes(1500)), box(b"moov", bytes(100))]
EBML = b"\x1a\x45\xdf\xa3\x8b\x42\x82\x88matroska"
WEBM_HEAD = b"\x1a\x45\xdf\xa3\x87\x42\x82\x84webm" + b"\x18\x53\x80\x67"
WEBM = split(WEBM_HEAD + b"\x44\x00" + bytes(1024), 4, 5, 12, 16, 18)
LIVE_WEBM = WEBM_HEAD + b"\x01" + b"\xff" * 7 + bytes(256)
MP3 = b"\xff\xfb\x90\x00" + bytes(413)
ID3 = b"ID3\4\0\0\0\0\x01\x00" + bytes(128)
