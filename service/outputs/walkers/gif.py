"""GIF: the screen, then images and extensions made of sub-blocks, up to the trailer."""

from __future__ import annotations

from struct import unpack

from service.outputs.walkers.picture import Picture
from service.outputs.walkers.steps import Read, Skip, SkipSubBlocks, Walk

_IMAGE, _EXTENSION, _TRAILER, _PADDING = b",", b"!", b";", b"\0"
_TAIL = 4096  # bytes of padding that may follow the trailer


def walk_gif(picture: Picture) -> Walk:
    """Pass over the blocks and count the images."""
    yield Skip(6)
    screen = yield Read(7)
    picture.measure(*unpack("<HH", screen[:4]))
    yield Skip(_table_size(screen[4]))
    while (block := (yield Read(1))) != _TRAILER:
        yield from _walk_block(picture, block)
    if not picture.frames:
        raise picture.damaged("it holds no picture")
    tail = yield Read(_TAIL + 1, exact=False)
    if len(tail) > _TAIL or tail.strip(b"\0\r\n"):
        raise picture.damaged("it goes on after its end")


def _walk_block(picture: Picture, block: bytes) -> Walk:
    if block == _IMAGE:
        image = yield Read(9)
        picture.count_frame(*unpack("<4H", image[:8]))
        yield Skip(_table_size(image[8]) + 1)  # and the size of LZW's first codes
        yield SkipSubBlocks()
    elif block == _EXTENSION:
        yield Skip(1)
        yield SkipSubBlocks()
    elif block != _PADDING:  # some encoders end a block twice
        raise picture.damaged("it has a block that can't be read")


def _table_size(flags: int) -> int:
    """Return the bytes of the color table that follows."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0
