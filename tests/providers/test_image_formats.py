"""An image's format and size from its header, compared with what Pillow makes."""

from __future__ import annotations

import io
import struct
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from service.providers.image_formats import ImageHeader, find_format, read_image_header

from .arbitrary import QUICK
from .bodies import claim_png, draw_picture

FORMATS = ["jpeg", "png", "webp", "bmp", "tiff", "gif"]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(("width", "height"), [(1, 1), (3, 2), (640, 257), (2048, 16)])
def test_format_and_size_are_read(name: Any, width: int, height: int) -> None:
    assert read_image_header(draw_picture(name.upper(), width, height)) == ImageHeader(name, (width, height))


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_deflate", "packbits", "tiff_jpeg"])
def test_compressed_tiff_is_measured(compression: str) -> None:
    picture = draw_picture("TIFF", 30, 20, compression=compression)
    assert read_image_header(picture) == ImageHeader("tiff", (30, 20))


def test_animated_gif_has_the_size_of_its_screen() -> None:
    frames = [Image.new("RGB", (30, 20), color) for color in ("teal", "gold")]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    assert read_image_header(file.getvalue()) == ImageHeader("gif", (30, 20))


def bmp(length: int, *, size: bytes) -> bytes:
    return b"BM" + bytes(12) + struct.pack("<I", length) + size + bytes(100)


def tiff(tags: list[tuple[int, int, int, bytes]], order: str = "<", start: int = 8) -> bytes:
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "I", start)
    entries = b"".join(struct.pack(order + "HHI", tag, kind, values) + value for tag, kind, values, value in tags)
    return head + struct.pack(order + "H", len(tags)) + entries


WIDE, HIGH = (256, 3, 1, struct.pack("<HH", 30, 0)), (257, 3, 1, struct.pack("<HH", 20, 0))
OTHER = (258, 3, 3, bytes(4))
MEASURED = {
    "bmp of OS/2": bmp(12, size=struct.pack("<HH", 30, 20)),
    "bmp downwards": bmp(40, size=struct.pack("<ii", 30, -20)),
    "bmp version 5": bmp(124, size=struct.pack("<ii", 30, 20)),
    "tiff": tiff([WIDE, HIGH]),
    "tiff, unsorted": tiff([OTHER, HIGH, OTHER, WIDE]),
    "tiff, long numbers": tiff([(256, 4, 1, struct.pack("<I", 30)), (257, 4, 1, struct.pack("<I", 20))]),
    "tiff, big-endian": tiff([(256, 3, 1, b"\0\x1e\0\0"), (257, 3, 1, b"\0\x14\0\0")], ">"),
    "gif of 1987": b"GIF87a" + struct.pack("<HH", 30, 20),
}


@pytest.mark.parametrize("data", MEASURED.values(), ids=MEASURED)
def test_odd_header_is_measured(data: bytes) -> None:
    header = read_image_header(data)
    assert header is not None
    assert header.size == (30, 20)


BROKEN = {
    "empty": b"",
    "text": b"a lighthouse at dawn",
    "signature only, gif": b"GIF89a",
    "signature only, bmp": b"BM",
    "signature only, tiff": b"II*\0",
    "signature only, png": b"\x89PNG\r\n\x1a\n",
    "gif without width": b"GIF89a" + struct.pack("<HH", 0, 20),
    "bmp of an unknown version": bmp(41, size=struct.pack("<ii", 30, 20)),
    "bmp with negative width": bmp(40, size=struct.pack("<ii", -30, 20)),
    "tiff without height": tiff([WIDE, OTHER]),
    "tiff with a list as height": tiff([WIDE, (257, 3, 2, struct.pack("<HH", 20, 20))]),
    "tiff with a text as height": tiff([WIDE, (257, 2, 1, b"20\0\0")]),
    "tiff, directory beyond the end": tiff([WIDE, HIGH], start=2**32 - 1),
    "tiff, height behind thousands of tags": tiff([WIDE, *[OTHER] * 5000, HIGH]),
    "big tiff": b"II+\0" + bytes(100),
    "wav": b"RIFF\0\0\0\0WAVEfmt " + bytes(40),
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_anything_else_is_no_image(data: bytes) -> None:
    assert read_image_header(data) is None


@pytest.mark.parametrize("name", FORMATS)
def test_cut_picture_never_raises(name: str) -> None:
    picture = draw_picture(name.upper(), 30, 20)
    headers = [read_image_header(picture[:length]) for length in range(len(picture))]
    assert {header.size for header in headers if header} <= {(30, 20)}
    assert headers[3] is None


def test_large_file_is_measured_without_copying_it() -> None:
    picture = draw_picture("BMP", 2000, 1000)
    tracemalloc.start()
    read_image_header(picture)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000


@QUICK
@given(
    prefix=st.sampled_from([b"", b"BM", b"II*\0", b"MM\0*", b"GIF89a", b"\xff\xd8\xff", claim_png(3, 2)[:16]]),
    rest=st.binary(max_size=80),
)
def test_random_bytes_have_a_header_or_none(prefix: bytes, rest: bytes) -> None:
    header = read_image_header(prefix + rest)
    assert header is None or (header.size[0] > 0 and header.size[1] > 0 and header.format == find_format(prefix + rest))
