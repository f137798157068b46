"""A file is judged while it passes in pieces, the same way however it is cut."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.outputs.content import inspect
from service.outputs.errors import OutputError, OutputRefused, TruncatedOutput
from service.outputs.formats import Family, tell_format
from service.outputs.inspecting import Content, Inspector, Limits, wants_whole
from service.outputs.walkers import WALKS
from service.outputs.walkers.picture import Picture
from service.outputs.walkers.steps import Walker
from tests.outputs import media
from tests.outputs.media import picture

LIMITS = Limits(max_bytes=10**9, max_pixels=10_000, max_frames=10)

FILES: dict[str, tuple[Family, Sequence[bytes], Content]] = {
    "jpeg": ("image", media.JPEG, Content("image/jpeg", "jpeg", 67, 45, 1)),
    "png": ("image", media.PNG, Content("image/png", "png", 67, 45, 1)),
    "apng": ("image", media.APNG, Content("image/png", "png", 67, 45, 2)),
    "gif": ("image", media.GIF, Content("image/gif", "gif", 67, 45, 2)),
    "webp": ("image", media.WEBP, Content("image/webp", "webp", 67, 45, 1)),
    "animated webp": ("video", media.ANIMATED_WEBP, Content("image/webp", "webp", 67, 45, 2)),
    "bmp": ("image", media.split(media.bmp(67, 45), 2, 6, 14, 18, 54), Content("image/bmp", "bmp", 67, 45, 1)),
    "tiff": (
        "image",
        media.split(media.tiff(media.tiff_fields(67, 45), media.tiff_fields(6, 4)), 4, 8, 10, 58),
        Content("image/tiff", "tiff", 67, 45, 2),
    ),
    "mp4": ("video", media.MP4, Content("video/mp4", "mp4")),
    "webm": ("video", media.WEBM, Content("video/webm", "webm")),
    "wav": ("audio", media.split(media.WAV, 4, 8, 12, 36, 44), Content("audio/wav", "wav")),
    "mp3": ("audio", [media.ID3[:10], media.ID3[10:], media.MP3], Content("audio/mpeg", "mp3")),
}


def judge(
    pieces: Iterator[bytes] | Sequence[bytes], kind: Family, limits: Limits = LIMITS
) -> Content | tuple[type, str]:
    """Return what a file is, or the error and its text."""
    inspector = Inspector(kind, limits)
    try:
        for piece in pieces:
            inspector.feed(piece)
        return inspector.finish()
    except (OutputRefused, TruncatedOutput) as error:
        return type(error), error.message


def walk(
    pieces: Iterator[bytes] | Sequence[bytes], extension: str
) -> tuple[int | None, int | None, int] | tuple[type, str]:
    """Return a picture's size and frames, or the error: without the first KiB that an inspector puts together."""
    seen = Picture(extension, LIMITS)
    walker = Walker(WALKS[extension](seen), seen)
    try:
        for piece in pieces:
            walker.feed(memoryview(piece))
        walker.finish()
    except (OutputRefused, TruncatedOutput) as error:
        return type(error), error.message
    return seen.width, seen.height, seen.frames


def ones(body: bytes) -> Iterator[bytes]:
    return (body[at : at + 1] for at in range(len(body)))


@pytest.mark.parametrize("name", FILES)
def test_file_is_told_whole_piece_by_piece_and_byte_by_byte(name: str) -> None:
    kind, pieces, content = FILES[name]
    body = b"".join(pieces)
    assert inspect(body, kind, LIMITS) == content
    assert judge(pieces, kind) == content
    assert judge(ones(body), kind) == content
    assert judge([b"", bytearray(body), b""], kind) == content
    seen = (content.width, content.height, content.frames or 0)
    assert (
        walk([body], content.extension)
        == walk(pieces, content.extension)
        == walk(ones(body), content.extension)
        == seen
    )


@pytest.mark.parametrize("name", [name for name in FILES if name != "mp3"])
def test_file_cut_at_any_structure_never_passes(name: str) -> None:
    kind, pieces, content = FILES[name]
    for cut in media.prefixes(pieces):
        verdict = judge([cut], kind)
        assert not isinstance(verdict, Content), len(cut)
        assert verdict == judge(ones(cut), kind)
        assert walk([cut], content.extension) == walk(ones(cut), content.extension)
        assert verdict[0] is TruncatedOutput or len(cut) < 12  # too little to tell the format


FOOTED = b"ID3\4\0\x10\0\0\0\x01?" + b"3DI\4\0\x10\0\0\0\x01"  # a tag of one byte, with a footer


@pytest.mark.parametrize("cut", [media.ID3[:5], media.ID3[:10], media.ID3[:-1], media.ID3, FOOTED])
def test_mp3_that_ends_with_its_tag_is_cut(cut: bytes) -> None:
    assert judge([cut], "audio") == (TruncatedOutput, "the provider's mp3 file ends too early")


# How much of what may follow the end of each format.
GARBAGE = {
    "jpeg": (bytes(4094), bytes(4095), TruncatedOutput),
    "png": (b"?" * 4096, b"?" * 4097, OutputRefused),
    "apng": (b"?" * 4096, b"?" * 4097, OutputRefused),
    "gif": (b"\0\r\n" * 21, b"?", OutputRefused),
    "webp": (b"?" * 9000, None, None),
    "bmp": (b"?" * 9000, None, None),
    "tiff": (b"?" * 9000, None, None),
    "mp4": (media.box(b"free"), b"?", TruncatedOutput),
    "webm": (b"?" * 9000, None, None),
    "wav": (b"?" * 9000, None, None),
    "mp3": (b"?" * 9000, None, None),
}


@pytest.mark.parametrize("name", GARBAGE)
def test_what_follows_the_end_is_borne_as_far_as_the_format_is_known_for_it(name: str) -> None:
    (kind, pieces, content), (borne, refused, error) = FILES[name], GARBAGE[name]
    assert judge([*pieces, borne], kind) == content
    if refused is not None:
        verdict = judge([*pieces, refused], kind)
        assert verdict == judge(ones(b"".join(pieces) + refused), kind)
        assert verdict[0] is error  # type: ignore[index]


def test_type_is_known_after_the_first_piece_and_the_size_once_it_came() -> None:
    inspector = Inspector("image", LIMITS)
    assert inspector.content is None
    inspector.feed(b"".join(media.JPEG[:2]) + media.segment(0xE1, bytes(5000)))
    assert inspector.content == Content("image/jpeg", "jpeg")
    inspector.feed(media.sof(67, 45))
    assert inspector.content == Content("image/jpeg", "jpeg", 67, 45)
    inspector.feed(media.SOS + b"\xff\xd9")
    assert inspector.finish() == Content("image/jpeg", "jpeg", 67, 45, 1)


def test_wrong_file_is_refused_with_its_first_piece() -> None:
    with pytest.raises(OutputRefused, match="an HTML page, not a video"):
        Inspector("video", LIMITS).feed(b"<html>" + bytes(4096))
    with pytest.raises(OutputRefused, match="image/png, not an audio file"):
        Inspector("audio", LIMITS).feed(b"".join(media.PNG))


def test_file_larger_than_allowed_is_refused_with_the_piece_that_is_too_much() -> None:
    body = b"".join(media.MP4)
    limits = replace(LIMITS, max_bytes=len(body))
    inspector = Inspector("video", limits)
    inspector.feed(body)
    with pytest.raises(OutputRefused, match=f"larger than {len(body)} bytes"):
        inspector.feed(b"\0")
    assert judge([body], "video", limits) == Content("video/mp4", "mp4")


def test_what_is_wrong_with_the_beginning_is_said_before_its_length() -> None:
    body = media.bmp(3000, 3000, pixels=9000)
    limits = replace(LIMITS, max_bytes=2000)
    verdict = judge([body], "image", limits)
    assert verdict == judge(ones(body), "image", limits)
    assert "3000 x 3000" in str(verdict)
    text = judge([b"not found" * 10], "image", replace(LIMITS, max_bytes=20))
    assert text == judge(ones(b"not found" * 10), "image", replace(LIMITS, max_bytes=20))
    assert "text, not an image" in str(text)


def test_what_lies_beyond_the_limit_is_not_looked_at() -> None:
    body = b"".join([*media.MP4, b"\0\0\0\2free"])
    limits = replace(LIMITS, max_bytes=len(body) - 8)
    assert "larger than" in str(judge([body], "video", limits))
    assert judge([body], "video", limits) == judge(ones(body), "video", limits)


def test_only_a_tiff_wants_to_be_held_whole() -> None:
    assert {name for name in ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP") if wants_whole(picture(name))} == {"TIFF"}
    assert wants_whole(b"MM\0*" + bytes(10))
    assert not wants_whole(b"")


def test_tiff_that_is_fed_in_pieces_leaves_them_free_at_once() -> None:
    head, body = bytearray(picture("TIFF")[:4096]), picture("TIFF")
    inspector = Inspector("image", LIMITS)
    inspector.feed(head)
    head += b"more"
    inspector.feed(body[4096:])
    assert inspector.finish() == Content("image/tiff", "tiff", 67, 45, 1)


@pytest.mark.parametrize("cut", [0, 1])
def test_tiff_that_is_fed_whole_is_not_copied(cut: int) -> None:
    body = bytearray(picture("TIFF", size=(1000, 999)))
    del body[len(body) - cut * 1000 :]
    inspector = Inspector("image", replace(LIMITS, max_pixels=10**7))
    tracemalloc.start()
    try:
        inspector.feed(body, whole=True)
        with pytest.raises(TruncatedOutput) if cut else nullcontext():
            inspector.finish()
        assert tracemalloc.get_traced_memory()[1] < 2**16
    finally:
        tracemalloc.stop()
    body += b"more"  # raises BufferError while anybody holds a view


@pytest.mark.parametrize("name", FILES)
def test_buffer_can_be_used_again_after_the_verdict(name: str) -> None:
    kind, pieces, _ = FILES[name]
    body = bytearray(b"".join(pieces))
    inspector = Inspector(kind, LIMITS)
    inspector.feed(body)
    inspector.finish()
    body += b"more"  # raises BufferError while anybody holds a view


def test_little_is_held_of_a_file_that_passes() -> None:
    piece = bytes(2**20)
    inspector = Inspector("video", LIMITS)
    inspector.feed(media.FTYP + media.box(b"moov") + b"\0\0\0\1mdat" + (100 * 2**20 + 16).to_bytes(8, "big"))
    tracemalloc.start()
    try:
        for _ in range(100):
            inspector.feed(piece)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert inspector.finish() == Content("video/mp4", "mp4")
    assert peak < 2**16


def cut_at(body: bytes, places: list[int]) -> list[bytes]:
    return [
        body[start:end]
        for start, end in pairwise([0, *sorted({place % (len(body) + 1) for place in places}), len(body)])
    ]


PLACES = st.lists(st.integers(0, 2**16), max_size=12)


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=300)
@given(st.sampled_from(sorted(FILES)), PLACES, st.data())
def test_verdict_is_the_same_for_every_cutting_of_a_changed_file(
    name: str, places: list[int], data: st.DataObject
) -> None:
    kind, pieces, content = FILES[name]
    body = bytearray(b"".join(pieces))
    for _ in range(data.draw(st.integers(0, 5))):
        at = data.draw(st.one_of(st.integers(0, min(120, len(body) - 1)), st.integers(0, len(body) - 1)))
        body[at] = data.draw(st.one_of(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]), st.integers(0, 255)))
    limits = replace(LIMITS, max_bytes=data.draw(st.sampled_from([10**9, len(body), len(body) - 1, 1024, 100])))
    changed = bytes(body[: data.draw(st.integers(0, len(body)))]) if data.draw(st.booleans()) else bytes(body)
    assert judge(cut_at(changed, places), kind, limits) == judge([changed], kind, limits)
    assert walk(cut_at(changed, places), content.extension) == walk([changed], content.extension)


MARKS = [
    b"",
    b"\xff\xd8\xff",
    media.PNG_MARK,
    media.PNG_MARK + media.ihdr(67, 45),
    b"GIF89a",
    media.screen(67, 45),
    media.screen(67, 45) + media.gif_frame(67, 45),
    b"BM",
    b"II*\0\x08\0\0\0",
    b"MM\0*",
    b"RIFF\xff\0\0\0WEBP",
    b"RIFF\xff\0\0\0WEBP" + media.vp8x(67, 45),
    b"RIFF\xff\0\0\0WAVE",
    media.FTYP,
    media.WEBM_HEAD,
    b"ID3\4\0\0\0\0\0",
]


@settings(max_examples=500)
@given(st.sampled_from(MARKS), st.binary(max_size=3000), PLACES, st.sampled_from(["image", "video", "audio"]))
def test_random_bytes_raise_nothing_else_in_any_cutting(
    mark: bytes, body: bytes, places: list[int], kind: Family
) -> None:
    body = mark + body
    verdict = judge(cut_at(body, places), kind)
    assert verdict == judge(ones(body), kind)
    if (told := tell_format(body)) is not None:
        assert walk(ones(body), told.extension) == walk(cut_at(body, places), told.extension)
    assert isinstance(verdict, Content) or issubclass(verdict[0], OutputError)
