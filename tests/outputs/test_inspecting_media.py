"""Video and sound: whether what was announced came."""

from __future__ import annotations

import io
import struct
import wave

import pytest

from service.outputs.content import inspect
from service.outputs.errors import OutputRefused, TruncatedOutput
from service.outputs.inspecting import Content, Limits
from tests.outputs import media
from tests.outputs.media import FTYP, box, long_box

LIMITS = Limits(max_bytes=10**9, max_pixels=10_000, max_frames=10)
MOOV = box(b"moov", bytes(100))
TO_THE_END = b"\0\0\0\0mdat" + bytes(1000)


@pytest.mark.parametrize(
    "boxes",
    [
        (FTYP, MOOV, box(b"mdat", bytes(1000))),
        (FTYP, box(b"mdat", bytes(1000)), MOOV),
        (FTYP, MOOV, TO_THE_END),
        (FTYP, MOOV, *[box(b"moof", bytes(80)), box(b"mdat", bytes(900))] * 50, box(b"mfra", b"")),
        (FTYP, long_box(b"mdat", bytes(1000)), MOOV),
        (FTYP, long_box(b"moov", bytes(100))),
        (FTYP, b"\0\0\0\0moov" + bytes(100)),
    ],
)
def test_mp4_is_whole_when_its_boxes_are_and_one_is_the_index(boxes: tuple[bytes, ...]) -> None:
    assert inspect(b"".join(boxes), "video", LIMITS) == Content("video/mp4", "mp4")


@pytest.mark.parametrize(
    "body",
    [
        FTYP,
        FTYP + box(b"mdat", b"moov" * 100),
        FTYP + TO_THE_END,
        FTYP + MOOV[:-1],
        FTYP + MOOV + MOOV[:7],
        FTYP + MOOV + b"\0\0\0\1mdat\0\0\0",
        FTYP + MOOV + b"\0\0\0\1mdat" + b"\xff" * 8 + bytes(5000),
    ],
)
def test_mp4_that_lacks_something_is_cut(body: bytes) -> None:
    with pytest.raises(TruncatedOutput, match="mp4 file ends too early"):
        inspect(body, "video", LIMITS)


@pytest.mark.parametrize("bad", [b"\0\0\0\7free", b"\0\0\0\1free" + bytes(7) + b"\x0f"])
def test_mp4_with_a_box_smaller_than_its_own_head_is_refused(bad: bytes) -> None:
    with pytest.raises(OutputRefused, match="box that can't be read"):
        inspect(FTYP + MOOV + bad + bytes(100), "video", LIMITS)


def test_mp4_of_empty_boxes_is_refused_before_it_costs_anything() -> None:
    with pytest.raises(OutputRefused, match="too many small pieces"):
        inspect(FTYP + MOOV + box(b"free") * 200_000, "video", LIMITS)


@pytest.mark.parametrize(
    "length", [b"\x88", b"\x40\x08", b"\x10\0\0\x08", b"\x01\0\0\0\0\0\0\x08", b"\xff", b"\x7f\xff"]
)
def test_webm_is_whole_when_its_segment_is_or_has_no_length(length: bytes) -> None:
    body = media.WEBM_HEAD + length + bytes(8)
    assert inspect(body, "video", LIMITS) == Content("video/webm", "webm")
    if not length.endswith(b"\xff"):
        with pytest.raises(TruncatedOutput):
            inspect(body[:-1], "video", LIMITS)


@pytest.mark.parametrize("tail", [b"\x18\x53\x80\x66\x88", b"\x18\x53\x80\x67\x00"])
def test_webm_without_a_segment_is_refused(tail: bytes) -> None:
    with pytest.raises(OutputRefused, match="header can't be read"):
        inspect(media.WEBM_HEAD[:-4] + tail + bytes(100), "video", LIMITS)


def test_webm_whose_header_has_no_length_is_refused() -> None:
    with pytest.raises(OutputRefused, match="header can't be read"):
        inspect(b"\x1a\x45\xdf\xa3\xff\x42\x82\x84webm" + bytes(100), "video", LIMITS)


def test_wav_of_the_standard_library_is_told() -> None:
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(2000))
    assert inspect(file.getvalue(), "audio", LIMITS) == Content("audio/wav", "wav")
    with pytest.raises(TruncatedOutput, match="wav file ends too early"):
        inspect(file.getvalue()[:-1], "audio", LIMITS)


@pytest.mark.parametrize("announced", [0, 0xFFFFFFFF])
def test_wav_written_as_a_stream_is_told(announced: int) -> None:
    body = b"RIFF" + struct.pack("<I", announced) + media.WAV[8:]
    assert inspect(body, "audio", LIMITS) == Content("audio/wav", "wav")


@pytest.mark.parametrize(
    "tags", [b"", media.ID3, media.ID3 * 3, b"ID3\4\0\x10\0\0\0\x01?" + bytes(10), media.ID3 + bytes(2000)]
)
def test_mp3_is_told_after_any_tags(tags: bytes) -> None:
    assert inspect(tags + media.MP3, "audio", LIMITS) == Content("audio/mpeg", "mp3")


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (media.ID3 + b"a lighthouse at dawn", "no sound"),
        (media.ID3 + bytes(70_000) + media.MP3, "no sound"),
        (media.ID3 + b"fLaC" + bytes(100), "no sound"),
        (b"ID3\4\0\0\xff\xff\xff\xff" + bytes(100), "tag can't be read"),
        (b"ID3\4\0\0\0\0\0\0" * 200_000, "too many small pieces"),
    ],
)
def test_broken_mp3_is_refused_with_the_reason(body: bytes, why: str) -> None:
    with pytest.raises(OutputRefused, match=why):
        inspect(body, "audio", LIMITS)


@pytest.mark.parametrize("third", range(256))
def test_mp3_frame_without_a_tag_is_told_by_its_rates(third: int) -> None:
    body = bytes([0xFF, 0xFB, third]) + bytes(414)
    if third >> 4 in (0, 15) or third >> 2 & 3 == 3:
        with pytest.raises(OutputRefused, match="no known format"):
            inspect(body, "audio", LIMITS)
    else:
        assert inspect(body, "audio", LIMITS).extension == "mp3"
