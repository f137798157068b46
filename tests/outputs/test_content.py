"""What a file is, told by its content."""

from __future__ import annotations

import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.outputs.content import Content, inspect
from service.outputs.errors import OutputRefused, TruncatedOutput
from service.outputs.formats import Family
from tests.outputs import media
from tests.outputs.media import EBML, LIVE_WEBM, MP3, WAV, picture

PIXELS = 10_000_000
MP4, WEBM = b"".join(media.MP4), b"".join(media.WEBM)
IMAGES = {"JPEG": "jpeg", "PNG": "png", "WEBP": "webp", "GIF": "gif", "BMP": "bmp", "TIFF": "tiff"}


@pytest.mark.parametrize("name", IMAGES)
def test_image_is_told_with_its_size(name: str) -> None:
    extension = IMAGES[name]
    assert inspect(picture(name), "image", max_pixels=PIXELS) == Content(f"image/{extension}", extension, 67, 45, 1)
    assert inspect(bytearray(picture(name)), "image", max_pixels=PIXELS).width == 67


@pytest.mark.parametrize("options", [{"lossless": True}, {"quality": 10}, {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0"}])
def test_every_kind_of_webp_is_told_with_its_size(options: dict[str, object]) -> None:
    content = inspect(picture("WEBP", **options), "image", max_pixels=PIXELS)
    assert (content.extension, content.width, content.height) == ("webp", 67, 45)


@pytest.mark.parametrize(
    ("body", "kind", "expected"),
    [
        (MP4, "video", Content("video/mp4", "mp4")),
        (WEBM, "video", Content("video/webm", "webm")),
        (LIVE_WEBM, "video", Content("video/webm", "webm")),
        (picture("GIF"), "video", Content("image/gif", "gif", 67, 45, 1)),
        (WAV, "audio", Content("audio/wav", "wav")),
        (MP3, "audio", Content("audio/mpeg", "mp3")),
        (b"ID3\4\0\0\0\0\0\0" + MP3, "audio", Content("audio/mpeg", "mp3")),
    ],
)
def test_video_and_audio_are_told(body: bytes, kind: Family, expected: Content) -> None:
    assert inspect(body, kind, max_pixels=PIXELS) == expected


@pytest.mark.parametrize("name", IMAGES)
def test_image_cut_anywhere_never_passes(name: str) -> None:
    whole = picture(name)
    for length in range(len(whole) - 2):
        with pytest.raises((TruncatedOutput, OutputRefused)):
            inspect(whole[:length], "image", max_pixels=PIXELS)
    with pytest.raises(TruncatedOutput):
        inspect(whole[: len(whole) * 3 // 4], "image", max_pixels=PIXELS)


@pytest.mark.parametrize(
    ("body", "kind"),
    [(MP4[:-1], "video"), (MP4[:28], "video"), (WEBM[:-10], "video"), (WAV[:-10], "audio")],
)
def test_cut_video_or_audio_is_truncated_and_may_be_fetched_again(body: bytes, kind: Family) -> None:
    with pytest.raises(TruncatedOutput) as cut:
        inspect(body, kind, max_pixels=PIXELS)
    assert not cut.value.final


@pytest.mark.parametrize(
    ("body", "looks_like"),
    [
        (b"", "an empty file"),
        (b"<!DOCTYPE html><html>", "an HTML page"),
        (b"\xef\xbb\xbf  <HTML>", "an HTML page"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'>", "SVG"),
        (b"<?xml version='1.0'?><svg>", "SVG"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "XML"),
        (b'{"error": "expired"}', "JSON"),
        (b"not found", "text"),
        (b"MZ\x90\0", "a Windows program"),
        (b"\x7fELF\2", "a Linux program"),
        (b"#!/bin/sh", "a script"),
        (b"%PDF-1.7", "a PDF document"),
        (b"PK\3\4", "a ZIP archive"),
        (b"\0\0\0\x1cftypavif", "AVIF or HEIC"),
        (EBML, "a Matroska video"),
        (b"\0\1\2\3", "no known format"),
    ],
)
def test_anything_else_is_refused_with_what_it_looks_like(body: bytes, looks_like: str) -> None:
    for kind in ("image", "video", "audio"):
        with pytest.raises(OutputRefused) as refused:
            inspect(body, kind, max_pixels=PIXELS)
        assert looks_like in refused.value.message
        assert refused.value.as_job_error().code == "output_rejected"


def test_file_of_another_kind_than_promised_is_refused() -> None:
    for body, kind in ((MP4, "image"), (WAV, "image"), (picture("PNG"), "audio"), (picture("JPEG"), "video")):
        with pytest.raises(OutputRefused):
            inspect(body, kind, max_pixels=PIXELS)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", IMAGES)
def test_image_with_too_many_pixels_is_refused(name: str) -> None:
    with pytest.raises(OutputRefused, match="67 x 45"):
        inspect(picture(name), "image", max_pixels=67 * 45 - 1)
    assert inspect(picture(name), "image", max_pixels=67 * 45)


def test_bomb_is_refused_by_its_header_alone() -> None:
    bomb = bytearray(picture("PNG"))
    bomb[16:24] = struct.pack(">II", 60_000, 60_000)
    with pytest.raises(OutputRefused):
        inspect(bomb, "image", max_pixels=PIXELS)


def test_body_can_be_changed_again_after_it_was_looked_at() -> None:
    for name in IMAGES:
        body = bytearray(picture(name))
        inspect(body, "image", max_pixels=PIXELS)
        body += b"more"  # raises BufferError while anybody holds a view


def judged(body: bytes, kind: Family) -> None:
    try:
        content = inspect(body, kind, max_pixels=PIXELS)
    except (OutputRefused, TruncatedOutput):
        return
    assert content.extension


@given(st.binary(max_size=200), st.sampled_from(["image", "video", "audio"]))
def test_random_bytes_raise_nothing_else(body: bytes, kind: Family) -> None:
    judged(body, kind)


MARKS = [
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n",
    b"GIF89a",
    b"BM",
    b"II*\0",
    b"MM\0*",
    b"RIFF\0\0\0\0WEBP",
    b"RIFF\0\0\0\0WAVE",
    b"\0\0\0\x10ftypisom",
    b"\x1a\x45\xdf\xa3\x87\x42\x82\x84webm",
    b"ID3",
]


@given(st.sampled_from(MARKS), st.binary(max_size=200), st.sampled_from([b"", b"\xff\xd9", b"IEND\xaeB`\x82", b";"]))
def test_random_bytes_after_a_good_beginning_raise_nothing_else(mark: bytes, body: bytes, end: bytes) -> None:
    for kind in ("image", "video", "audio"):
        judged(mark + body + end, kind)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(sorted(IMAGES)), st.data())
def test_mutated_images_raise_nothing_else(name: str, data: st.DataObject) -> None:
    body = bytearray(picture(name))
    near = st.one_of(st.integers(0, min(300, len(body) - 1)), st.integers(0, len(body) - 1))
    for _ in range(data.draw(st.integers(1, 8))):
        body[data.draw(near)] = data.draw(st.integers(0, 255))
    judged(bytes(body), "image")
