"""BMP: the size in its header, and the length that it announces."""

from __future__ import annotations

from struct import unpack

from service.outputs.walkers.picture import Picture
from service.outputs.walkers.steps import Read, Skip, Walk

_HEADER_SIZES = (12, 40, 52, 56, 64, 108, 124)
_DEPTHS = (0, 1, 2, 4, 8, 16, 24, 32)  # 0: a JPEG or PNG inside


def walk_bmp(picture: Picture) -> Walk:
    """Read the header. The announced length decides whether the file is whole; more may follow."""
    head = yield Read(18)
    announced, header_size = int.from_bytes(head[2:6], "little"), int.from_bytes(head[14:], "little")
    if header_size not in _HEADER_SIZES:
        raise picture.damaged("its header can't be read")
    header = yield Read(header_size - 4)
    width, height, depth = _read_header(header)
    if depth not in _DEPTHS:
        raise picture.damaged("its header can't be read")
    picture.measure(width, height)
    picture.frames = 1
    yield Skip(max(0, announced - 14 - header_size))


def _read_header(header: bytes) -> tuple[int, int, int]:
    if len(header) == 8:
        width, height, _, depth = unpack("<4H", header)
        return width, height, depth
    width, height, _, depth = unpack("<iiHH", header[:12])
    return width, abs(height), depth  # a negative height: from top to bottom
