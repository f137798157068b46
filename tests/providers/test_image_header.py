"""The size of an image from its header, compared with what Pillow makes."""

from __future__ import annotations

import io
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from service.providers.image_header import read_image_size

from .arbitrary import QUICK
from .bodies import claim_png, draw_picture

EXIF = Image.Exif()
EXIF[0x010E] = "a lighthouse at dawn"
PICTURES: list[tuple[str, dict[str, Any]]] = [
    ("PNG", {}),
    ("PNG", {"optimize": True}),
    ("JPEG", {}),
    ("JPEG", {"progressive": True}),
    ("JPEG", {"exif": EXIF}),
    ("JPEG", {"comment": b"\xff\xc0 not a frame"}),
    ("WEBP", {}),
    ("WEBP", {"lossless": True}),
    ("WEBP", {"exif": EXIF}),
]


@pytest.mark.parametrize(("kind", "options"), PICTURES)
@pytest.mark.parametrize(("width", "height"), [(1, 1), (3, 2), (640, 257), (2048, 16)])
def test_size_is_read_from_every_kind(kind: str, options: dict[str, Any], width: int, height: int) -> None:
    assert read_image_size(draw_picture(kind, width, height, **options)) == (width, height)


def test_animated_webp_has_the_size_of_its_canvas() -> None:
    frames = [Image.new("RGB", (30, 20), color) for color in ("teal", "gold")]
    file = io.BytesIO()
    frames[0].save(file, "WEBP", save_all=True, append_images=frames[1:])
    assert read_image_size(file.getvalue()) == (30, 20)


def test_bomb_is_measured_without_unpacking_it() -> None:
    assert read_image_size(claim_png(2**31 - 1, 2**31 - 1)) == (2**31 - 1, 2**31 - 1)


def test_jpeg_with_fill_bytes_and_a_bare_marker_is_read() -> None:
    frame = b"\xff\xc0" + struct.pack(">HBHH", 11, 8, 20, 30) + bytes(4)
    assert read_image_size(b"\xff\xd8\xff\xff\xff\x01" + frame) == (30, 20)


BROKEN = {
    "empty": b"",
    "gif": b"GIF89a" + bytes(40),
    "bmp": draw_picture("BMP"),
    "png signature only": b"\x89PNG\r\n\x1a\n",
    "png, wrong checksum": claim_png(3, 2)[:-1] + b"\0",
    "png, no width": claim_png(0, 2),
    "png, other chunk first": b"\x89PNG\r\n\x1a\n" + bytes(40),
    "jpeg start only": b"\xff\xd8\xff",
    "jpeg, pixels before a frame": b"\xff\xd8\xff\xda" + bytes(40),
    "jpeg, endless fill": b"\xff\xd8" + b"\xff" * 10**6,
    "jpeg, endless segments": b"\xff\xd8" + b"\xff\xe0\x00\x02" * 10**6,
    "jpeg, no height": b"\xff\xd8\xff\xc0" + struct.pack(">HBHH", 11, 8, 0, 30) + bytes(4),
    "webp, unknown kind": b"RIFF\0\0\0\0WEBPVP9 " + bytes(40),
    "webp, cut off": draw_picture("WEBP")[:25],
    "wav": b"RIFF\0\0\0\0WAVEfmt " + bytes(40),
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_anything_else_has_no_size(data: bytes) -> None:
    assert read_image_size(data) is None


@QUICK
@given(
    prefix=st.sampled_from(
        [b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\0\0\0\0WEBPVP8X", b"RIFF\0\0\0\0WEBPVP8L"]
    ),
    rest=st.binary(max_size=60),
)
def test_random_bytes_have_a_size_or_none(prefix: bytes, rest: bytes) -> None:
    size = read_image_size(prefix + rest)
    assert size is None or (size[0] > 0 and size[1] > 0)


@pytest.mark.parametrize(("kind", "options"), PICTURES)
def test_cut_picture_never_raises(kind: str, options: dict[str, Any]) -> None:
    picture = draw_picture(kind, **options)
    sizes = {read_image_size(picture[:length]) for length in range(len(picture))}
    assert sizes == {None, (3, 2)}
