"""Sizes and frames of pictures, against Pillow, which writes and reads them whole."""

from __future__ import annotations

import base64
import io
import struct
import tracemalloc
import zlib
from itertools import islice, product

import pytest
from PIL import Image

from service.outputs.content import inspect
from service.outputs.errors import OutputRefused, TruncatedOutput
from service.outputs.inspecting import Content, Inspector, Limits
from tests.outputs import media
from tests.outputs.media import animation, picture, saved

LIMITS = Limits(max_bytes=10**9, max_pixels=10_000, max_frames=10)


def as_pillow_sees(body: bytes) -> tuple[int, int, int]:
    with Image.open(io.BytesIO(body)) as image:
        return (*image.size, getattr(image, "n_frames", 1))


def as_we_see(body: bytes) -> tuple[int | None, int | None, int | None]:
    content = inspect(body, "image", LIMITS)
    return content.width, content.height, content.frames


MODES = {
    "JPEG": ("L", "RGB", "CMYK", "YCbCr"),
    "PNG": ("1", "L", "LA", "I;16", "RGB", "RGBA", "P"),
    "GIF": ("1", "L", "RGB", "P"),
    "BMP": ("1", "L", "RGB", "RGBA", "P"),
    "WEBP": ("RGB", "RGBA"),
    "TIFF": ("1", "L", "LA", "I;16", "I;16B", "I", "F", "RGB", "RGBA", "P", "CMYK", "YCbCr", "LAB"),
}


@pytest.mark.parametrize(("name", "mode"), [(name, mode) for name, modes in MODES.items() for mode in modes])
@pytest.mark.parametrize("size", [(67, 45), (1, 1), (1, 300), (300, 1)])
def test_size_is_the_one_pillow_reads_in_every_mode(name: str, mode: str, size: tuple[int, int]) -> None:
    gradient = mode not in ("LAB", "I;16", "I;16B")  # Pillow converts nothing to these
    body = picture(name, mode=mode, size=size) if gradient else saved(Image.new(mode, size), name)
    assert as_we_see(body) == as_pillow_sees(body) == (*size, 1)


@pytest.mark.parametrize("size", [(1, 1), (67, 45), (100, 100)])
@pytest.mark.parametrize("name", ["PNG", "GIF", "WEBP", "TIFF", "JPEG"])
def test_empty_picture_of_a_few_bytes_is_told(name: str, size: tuple[int, int]) -> None:
    options = {"lossless": True} if name == "WEBP" else {}
    body = saved(Image.new("RGB", size), name, **options)
    assert as_we_see(body) == as_pillow_sees(body) == (*size, 1)


def test_smallest_webp_there_is_is_told() -> None:
    body = base64.b64decode("UklGRhIAAABXRUJQVlA4TAYAAAAvQWxvAGs=")
    assert inspect(body, "image", Limits(10**9, 10**9, 10)).extension == "webp"


def exif_with_thumbnail() -> bytes:
    """EXIF whose second page is a whole JPEG of another size."""
    thumbnail = picture("JPEG", size=(16, 12))
    ifd = struct.pack("<HHHIII", 1, 0x0112, 3, 1, 1, 26)
    thumb = struct.pack("<HHHIIHHIII", 2, 0x0201, 4, 1, 56, 0x0202, 4, 1, len(thumbnail), 0)
    return b"Exif\0\0II*\0\x08\0\0\0" + ifd + thumb + thumbnail


@pytest.mark.parametrize(
    "options",
    [
        {"progressive": True},
        {"optimize": True, "quality": 95},
        {"restart_marker_rows": 1},
        {"subsampling": 0},
        {"icc_profile": bytes(70_000)},
        {"comment": "\xff\xd8\xff\xd9"},
        {"exif": exif_with_thumbnail()},
    ],
)
def test_jpeg_of_every_kind_is_told_with_its_own_size(options: dict[str, object]) -> None:
    body = picture("JPEG", **options)
    assert as_we_see(body) == as_pillow_sees(body) == (67, 45, 1)


def test_jpeg_cut_after_its_thumbnail_is_not_whole() -> None:
    body = picture("JPEG", exif=exif_with_thumbnail())
    end = body.index(b"\xff\xd9") + 2
    assert end < len(body) - 100
    with pytest.raises(TruncatedOutput):
        inspect(body[:end], "image", LIMITS)


@pytest.mark.parametrize("lead", [b"\xff" * 9, b"\xff\0\xff\0", b"junk", b"\xff\xd0", b"\xff\x01"])
def test_jpeg_with_stuffing_between_its_segments_is_read_as_decoders_do(lead: bytes) -> None:
    body = b"".join([*media.JPEG[:2], lead, *media.JPEG[2:]])
    assert as_we_see(body) == (67, 45, 1)


@pytest.mark.parametrize(
    ("pieces", "why"),
    [
        ([b"\xff\xd8", media.SOS, b"\xff\xd9"], "header can't be read"),
        ([b"\xff\xd8", media.sof(67, 45), media.sof(67, 45), media.SOS, b"\xff\xd9"], "header can't be read"),
        ([b"\xff\xd8", b"\xff\xc0\0\7\x08\0\1\0\1", media.SOS, b"\xff\xd9"], "header can't be read"),
        ([b"\xff\xd8", b"\xff\xe0\0\1", media.sof(67, 45), media.SOS, b"\xff\xd9"], "header can't be read"),
        ([b"\xff\xd8", b"\xff\x99\0\2", media.sof(67, 45), media.SOS, b"\xff\xd9"], "header can't be read"),
        ([b"\xff\xd8", media.sof(67, 45), b"\xff\xd9"], "no picture"),
        ([b"\xff\xd8", media.sof(67, 0), media.SOS, b"\xff\xd9"], "no pixels"),
        ([b"\xff\xd8", media.sof(60_000, 60_000, 0xC2), media.SOS, b"\xff\xd9"], "60000 x 60000"),
        ([b"\xff\xd8\xff\xe0\0\2", b"\xff\0" * 200_000], "too many small pieces"),
    ],
)
def test_broken_jpeg_is_refused_with_the_reason(pieces: list[bytes], why: str) -> None:
    with pytest.raises(OutputRefused, match=why):
        inspect(b"".join(pieces), "image", LIMITS)


def interlaced(body: bytes) -> bytes:
    """Mark a PNG as interlaced, which changes its body's order but nothing of its structure."""
    header = body[12:28] + b"\1"
    return body[:12] + header + struct.pack(">I", zlib.crc32(header)) + body[33:]


def test_interlaced_png_is_told() -> None:
    body = interlaced(picture("PNG"))
    assert Image.open(io.BytesIO(body)).info["interlace"] == 1
    assert as_we_see(body) == (67, 45, 1)


@pytest.mark.parametrize("name", ["PNG", "GIF", "WEBP", "TIFF"])
@pytest.mark.parametrize("frames", [2, 7, 10])
def test_frames_are_counted_as_pillow_does(name: str, frames: int) -> None:
    body = animation(name, frames)
    assert as_we_see(body) == as_pillow_sees(body) == (67, 45, frames)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("WEBP", {"lossless": True}),
        ("WEBP", {"quality": 10, "minimize_size": True}),
        ("WEBP", {"icc_profile": b"abc", "exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0"}),
        ("GIF", {"loop": 0, "comment": b"x" * 600, "disposal": 2}),
        ("GIF", {"interlace": 1, "optimize": True}),
        ("PNG", {"loop": 0, "disposal": 1, "blend": 1}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "tiff_deflate"}),
        ("TIFF", {"compression": "jpeg"}),
        ("TIFF", {"compression": "packbits"}),
    ],
)
def test_animations_of_every_kind_are_counted(name: str, options: dict[str, object]) -> None:
    body = animation(name, **options)
    assert as_we_see(body) == as_pillow_sees(body) == (67, 45, 3)


def test_default_image_of_an_apng_is_no_frame_of_it() -> None:
    body = animation("PNG", default_image=True)
    assert as_we_see(body) == (67, 45, 2)


@pytest.mark.parametrize("name", ["PNG", "GIF", "WEBP", "TIFF"])
def test_animation_with_a_frame_too_many_is_refused(name: str) -> None:
    with pytest.raises(OutputRefused, match="has more than 10 frames"):
        inspect(animation(name, 11), "image", LIMITS)


def png(*chunks: bytes) -> bytes:
    return media.PNG_MARK + b"".join(chunks)


HEAD = media.ihdr(67, 45)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (png(media.IDAT, media.IEND), "header can't be read"),
        (png(media.chunk(b"IHDR", bytes(12)), media.IDAT, media.IEND), "header can't be read"),
        (png(HEAD, HEAD, media.IDAT, media.IEND), "IHDR can't be read"),
        (png(HEAD[:-1] + b"?", media.IDAT, media.IEND), "checksum of its chunk IHDR"),
        (png(HEAD, media.IEND), "no picture"),
        (png(media.ihdr(0, 45), media.IDAT, media.IEND), "no pixels"),
        (png(media.ihdr(2**31, 2**31), media.IDAT, media.IEND), "2147483648 x 2147483648"),
        (png(HEAD, b"\x80\0\0\0IDAT", bytes(100)), "chunk that can't be read"),
        (png(HEAD, b"\0\0\0\0ID T", bytes(100)), "chunk that can't be read"),
        (png(HEAD, media.IDAT, media.IEND[:-1] + b"?"), "end can't be read"),
        (png(HEAD, media.actl(11), media.IDAT, media.IEND), "more than 10 frames"),
        (png(HEAD, media.actl(2**31), media.IDAT, media.IEND), "more than 10 frames"),
        (png(HEAD, media.actl(1), *[media.fctl(0, 1, 1)] * 11), "more than 10 frames"),
        (png(HEAD, media.actl(1), media.fctl(0, 67, 46), media.IDAT, media.IEND), "outside"),
        (png(HEAD, media.actl(1), media.fctl(0, 67, 45, 1), media.IDAT, media.IEND), "outside"),
        (png(HEAD, media.actl(1), media.fctl(0, 1, 1, 2**32 - 1, 2**32 - 1), media.IDAT, media.IEND), "outside"),
        (png(HEAD, media.actl(1), media.fctl(0, 0, 45), media.IDAT, media.IEND), "no pixels"),
        (png(HEAD, media.actl(1), media.chunk(b"fcTL", bytes(25)), media.IDAT, media.IEND), "fcTL can't be read"),
        (png(HEAD, *[media.chunk(b"IDAT")] * 100_000), "too many small pieces"),
    ],
)
def test_broken_png_is_refused_with_the_reason(body: bytes, why: str) -> None:
    with pytest.raises(OutputRefused, match=why):
        inspect(body, "image", LIMITS)


def test_names_of_chunks_are_not_collected() -> None:
    names = (bytes(name) for name in product(b"abcdefghijklmnopqrstuvwxyz", repeat=4))
    body = png(HEAD, *[media.chunk(name, bytes(500)) for name in islice(names, 20_000)], media.IDAT, media.IEND)
    inspector = Inspector("image", LIMITS)
    tracemalloc.start()
    try:
        inspector.feed(body)
        assert tracemalloc.get_traced_memory()[1] < 2**16
    finally:
        tracemalloc.stop()
    assert inspector.finish().extension == "png"


def test_control_chunks_alone_make_no_animation() -> None:
    body = png(HEAD, media.fctl(0, 67, 45), media.IDAT, media.fctl(1, 67, 45), media.IEND)
    assert as_we_see(body) == (67, 45, 1)


def gif(*blocks: bytes, size: tuple[int, int] = (67, 45)) -> bytes:
    return media.screen(*size) + b"".join(blocks)


FRAME = media.gif_frame(67, 45)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (gif(b";"), "no picture"),
        (gif(b"!\xfe\5hello\0;"), "no picture"),
        (gif(b"?"), "block that can't be read"),
        (gif(size=(0, 45)), "no pixels"),
        (gif(size=(60_000, 60_000)), "60000 x 60000"),
        (gif(media.gif_frame(68, 45)), "outside"),
        (gif(media.gif_frame(67, 1, 0, 45)), "outside"),
        (gif(media.gif_frame(0, 1)), "no pixels"),
        (gif(*[FRAME, b"\0"] * 11), "more than 10 frames"),
        (gif(FRAME, b"\0;", bytes(4097)), "goes on after its end"),
        (gif(b"!\xfe\0" * 200_000), "too many small pieces"),
    ],
)
def test_broken_gif_is_refused_with_the_reason(body: bytes, why: str) -> None:
    with pytest.raises(OutputRefused, match=why):
        inspect(body, "image", LIMITS)


def test_gif_with_xmp_is_walked_over_its_trick() -> None:
    """XMP stands in a GIF as plain text; 258 bytes after it lead every reader of sub-blocks to the end."""
    trick = b"\1" + bytes(range(255, -1, -1)) + b"\0"
    xmp = b"!\xff\x0bXMP DataXMP" + b"<?xpacket begin='' ?>" * 50 + trick
    assert as_we_see(gif(xmp, FRAME, b"\0", b";")) == (67, 45, 1)


@pytest.mark.parametrize("size", [1, 2, 3, 44, 59, 92, 93, 94, 127, 128, 254, 255])
def test_sub_blocks_of_every_size_are_passed_over(size: int) -> None:
    data = (bytes([size]) + b";" * size) * 300
    assert as_we_see(gif(FRAME, data, b"\0", b";")) == (67, 45, 1)
    with pytest.raises(TruncatedOutput):
        inspect(gif(FRAME, data[:-1], b"\0"), "image", LIMITS)


def webp(*chunks: bytes) -> bytes:
    return media.riff(b"WEBP", b"".join(chunks))


CANVAS = media.vp8x(67, 45)
SMALL = media.vp8(7, 5)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (webp(), "header can't be read"),
        (webp(b"VP8 \4\0\0\0abcd"), "header can't be read"),
        (webp(media.vp8(67, 45).replace(b"\x9d\x01\x2a", b"\x9d\x01\x2b")), "header can't be read"),
        (webp(media.riff_chunk(b"ALPH", bytes(20)), media.vp8(67, 45)), "header can't be read"),
        (b"RIFF\0\0\0\0WEBP" + media.vp8(67, 45), "header can't be read"),
        (webp(media.vp8(0, 45)), "no pixels"),
        (webp(media.vp8l(16_383, 16_383)), "16383 x 16383"),
        (webp(media.vp8x(2**24, 2**24)), "16777216 x 16777216"),
        (webp(CANVAS), "no picture"),
        (webp(CANVAS, media.vp8(67, 46)), "two sizes"),
        (webp(CANVAS, media.anmf(67, 45, content=media.vp8l(16_383, 16_383))), "two sizes"),
        (webp(CANVAS, media.anmf(67, 45, content=b"")), "no picture"),
        (webp(CANVAS, media.anmf(67, 45, content=media.anmf(67, 45))), "no picture"),
        (webp(CANVAS, media.anmf(68, 45)), "outside"),
        (webp(CANVAS, media.anmf(7, 5, left=62)), "outside"),
        (webp(CANVAS, media.riff_chunk(b"ANMF", bytes(15))), "frame of it can't be read"),
        (webp(CANVAS, b"EXIF\xff\0\0\0abc"), "reaches beyond its end"),
        (webp(CANVAS, *[media.anmf(7, 5)] * 11), "more than 10 frames"),
        (webp(CANVAS, b"ABCD\0\0\0\0" * 200_000), "too many small pieces"),
    ],
)
def test_broken_webp_is_refused_with_the_reason(body: bytes, why: str) -> None:
    with pytest.raises(OutputRefused, match=why):
        inspect(body, "image", LIMITS)


def test_webp_without_padding_at_its_very_end_is_whole() -> None:
    assert as_we_see(webp(CANVAS, media.vp8(67, 45), b"EXIF\3\0\0\0abc")) == (67, 45, 1)


def test_few_bytes_left_in_a_container_of_webp_belong_to_it() -> None:
    frame = media.anmf(7, 5, content=media.vp8l(7, 5) + b"?" * 6)
    body = webp(CANVAS, frame, media.anmf(67, 45), b"?" * 6)
    assert as_we_see(body) == (67, 45, 2)
    with pytest.raises(TruncatedOutput):
        inspect(body[:-1], "image", LIMITS)


@pytest.mark.parametrize("header_size", [12, 40, 52, 56, 64, 108, 124])
def test_bmp_of_every_generation_is_told(header_size: int) -> None:
    numbers = struct.pack("<HHHH", 67, 45, 1, 24) if header_size == 12 else struct.pack("<iiHH", 67, -45, 1, 24)
    header = (struct.pack("<I", header_size) + numbers).ljust(header_size, b"\0")
    body = b"BM" + struct.pack("<IHHI", 14 + header_size + 99, 0, 0, 14 + header_size) + header + bytes(99)
    assert as_we_see(body) == (67, 45, 1)
    with pytest.raises(TruncatedOutput):
        inspect(body[:-1], "image", LIMITS)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"BMW drives past a lighthouse at dawn", "header can't be read"),
        (media.bmp(67, 45).replace(b"\x18\0\0\0\0\0", b"\x19\0\0\0\0\0", 1), "header can't be read"),
        (media.bmp(0, 45), "no pixels"),
        (media.bmp(-67, 45), "no pixels"),
        (media.bmp(67, -(2**31)), "67 x 2147483648"),
    ],
)
def test_broken_bmp_is_refused_with_the_reason(body: bytes, why: str) -> None:
    with pytest.raises(OutputRefused, match=why):
        inspect(body, "image", LIMITS)


FIELDS = media.tiff_fields(67, 45)


def overlapping() -> bytes:
    """Pages that each name the same long list of strips."""
    fields = [(256, 4, 1, 67), (257, 4, 1, 45), (273, 4, 5000, 1000), (279, 4, 5000, 1000)]
    return media.tiff(*[fields] * 9).ljust(21_000, b"\0")


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"II*\0\0\0\0\0", "no picture"),
        (b"II*\0\x08\0\0\0" + media.tiff_page(FIELDS, 8), "in circles"),
        (media.tiff(*[FIELDS] * 11), "more than 10 frames"),
        (media.tiff(FIELDS, media.tiff_fields(60_000, 60_000)), "60000 x 60000"),
        (media.tiff(media.tiff_fields(0, 45)), "no pixels"),
        (media.tiff(FIELDS[1:]), "header can't be read"),
        (media.tiff([(256, 2, 1, 67), *FIELDS[1:]]), "header can't be read"),
        (media.tiff([(256, 4, 0, 67), *FIELDS[1:]]), "header can't be read"),
        (media.tiff([*FIELDS, *FIELDS]), "header can't be read"),
        (overlapping(), "lie upon each other"),
    ],
)
def test_broken_tiff_is_refused_with_the_reason(body: bytes, why: str) -> None:
    with pytest.raises(OutputRefused, match=why):
        inspect(body, "image", LIMITS)


@pytest.mark.parametrize(
    "body",
    [
        b"II*\0\xff\0\0\0" + bytes(20),
        b"II*\0\x08\0\0\0\xff\xff" + bytes(20),
        media.tiff(media.tiff_fields(67, 45, at=50, length=13)),
        media.tiff([(256, 4, 1, 67), (257, 4, 1, 45), (273, 4, 2**32 - 1, 8), (279, 4, 1, 1)]),
        media.tiff(FIELDS, media.tiff_fields(6, 4, at=2**32 - 1)),
    ],
)
def test_tiff_whose_parts_are_not_there_is_cut(body: bytes) -> None:
    with pytest.raises(TruncatedOutput):
        inspect(body, "image", LIMITS)


def test_every_strip_of_a_tiff_has_to_be_there() -> None:
    page = [(256, 4, 1, 67), (257, 4, 1, 45), (273, 4, 2, 62), (279, 4, 2, 70)]
    body = media.tiff(page) + struct.pack("<4I", 78, 88, 10, 12)
    assert len(body) == 78
    assert as_we_see(body + bytes(22)) == (67, 45, 1)
    with pytest.raises(TruncatedOutput):
        inspect(body + bytes(21), "image", LIMITS)


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "jpeg"])
def test_tiff_with_many_small_pages_is_told(compression: str | None) -> None:
    pages = [Image.new("L", (1, 1), shade) for shade in range(9)]
    body = saved(pages[0], "TIFF", save_all=True, append_images=pages[1:], compression=compression)
    assert inspect(body, "image", LIMITS) == Content("image/tiff", "tiff", 1, 1, 9)
