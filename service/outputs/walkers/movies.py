"""MP4 and WebM: the boxes on the top level, and the announced length of the one segment."""

from __future__ import annotations

from collections.abc import Generator

from service.outputs.walkers.picture import Picture
from service.outputs.walkers.steps import Read, Rest, Skip, Step, Walk

_SEGMENT = b"\x18\x53\x80\x67"


def walk_mp4(picture: Picture) -> Walk:
    """Pass over the boxes: each must end within the file, and one of them must be the movie's index."""
    has_index = False
    while len(head := (yield Read(8, exact=False))) == 8:
        has_index = has_index or head[4:] == b"moov"
        yield from _walk_box(picture, int.from_bytes(head[:4], "big"))
    if head or not has_index:
        raise picture.truncated()


def _walk_box(picture: Picture, size: int) -> Walk:
    if size == 0:  # up to the end
        yield Rest()
        return
    left = int.from_bytes((yield Read(8)), "big") - 16 if size == 1 else size - 8
    if left < 0:
        raise picture.damaged("it has a box that can't be read")
    yield Skip(left)


def walk_webm(picture: Picture) -> Walk:
    """Look at the segment's announced length, which a live recording leaves unknown; what follows it counts as nothing."""
    yield Skip(4)
    header = yield from _read_length(picture)
    if header is None:
        raise picture.damaged("its header can't be read")
    yield Skip(header)
    if (yield Read(4)) != _SEGMENT:
        raise picture.damaged("its header can't be read")
    length = yield from _read_length(picture)
    yield Rest() if length is None else Skip(length)


def _read_length(picture: Picture) -> Generator[Step, bytes, int | None]:
    """Return one of Matroska's lengths, as many bytes as its first one has leading zero bits; None for "unknown"."""
    first = (yield Read(1))[0]
    more = 8 - first.bit_length()
    if more > 7:
        raise picture.damaged("its header can't be read")
    rest = yield Read(more)
    ones = (1 << 7 * (more + 1)) - 1
    length = int.from_bytes(bytes([first]) + rest, "big") & ones
    return None if length == ones else length
