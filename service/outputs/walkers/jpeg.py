"""JPEG: segments up to the first scan, which hold the size, and the mark at the end."""

from __future__ import annotations

from collections.abc import Generator

from service.outputs.walkers.picture import Picture
from service.outputs.walkers.steps import Read, Rest, Skip, SkipToMark, Step, Walk

_END_MARK = b"\xff\xd9"
_TAIL = 4096  # bytes at the end in which the end mark may be followed by padding
_FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SCAN, _END = 0xDA, 0xD9
_ALONE = frozenset(range(0xD0, 0xD9)) | {0x01}  # without a length and content: restarts, the start, "temporary"


def walk_jpeg(picture: Picture) -> Walk:
    """Pass over the segments, thumbnails within them included, to the scan; then look only for the end."""
    yield Skip(2)
    while True:
        marker = yield from _read_marker()
        if marker == _SCAN:
            break
        yield from _walk_segment(picture, marker)
    if picture.width is None:
        raise picture.damaged("its header can't be read")
    picture.frames = 1
    tail = yield Rest(keep=_TAIL)
    if _END_MARK not in tail:
        raise picture.truncated()


def _read_marker() -> Generator[Step, bytes, int]:
    """Return the next marker's code. Every decoder passes over stuffing and what else lies between two segments."""
    while True:
        yield SkipToMark()
        code = (yield Read(1))[0]
        while code == 0xFF:
            code = (yield Read(1))[0]
        if code:
            return code


def _walk_segment(picture: Picture, marker: int) -> Walk:
    if marker in _ALONE:
        return
    if marker == _END:
        raise picture.damaged("it holds no picture")
    if marker < 0xC0:
        raise picture.damaged("its header can't be read")
    length = int.from_bytes((yield Read(2)), "big") - 2
    if length < 0 or (marker in _FRAME_HEADERS and (length < 6 or picture.width is not None)):
        raise picture.damaged("its header can't be read")
    if marker in _FRAME_HEADERS:
        header = yield Read(6)
        picture.measure(int.from_bytes(header[3:5], "big"), int.from_bytes(header[1:3], "big"))
        length -= 6
    yield Skip(length)
