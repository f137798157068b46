"""PNG and APNG: chunks, from IHDR to IEND."""

from __future__ import annotations

import re
import zlib
from collections.abc import Generator
from struct import unpack

from service.outputs.walkers.picture import Picture
from service.outputs.walkers.steps import Read, Skip, Step, Walk

_NAME = re.compile(rb"[A-Za-z]{4}")
_TOLD = {b"IDAT", b"acTL"}  # what it matters whether it came
_MAX_LENGTH = 2**31 - 1
_END_CHECKSUM = b"\xaeB`\x82"
_TAIL = 4096  # bytes that may follow the end


def walk_png(picture: Picture) -> Walk:
    """Pass over the chunks. Frames are what an animation's control chunks announce; its default image need not be one."""
    yield Skip(8)
    if (yield from _read_head(picture)) != (13, b"IHDR"):
        raise picture.damaged("its header can't be read")
    header = yield from _read_content(picture, b"IHDR", 13)
    picture.measure(*unpack(">II", header[:8]))
    seen: set[bytes] = set()
    while True:
        length, name = yield from _read_head(picture)
        seen |= {name} & _TOLD
        if name == b"IEND":
            break
        yield from _walk_chunk(picture, length, name)
    yield from _walk_end(picture, length, seen)


def _read_head(picture: Picture) -> Generator[Step, bytes, tuple[int, bytes]]:
    """Return the next chunk's length and name."""
    head = yield Read(8)
    length, name = int.from_bytes(head[:4], "big"), head[4:]
    if length > _MAX_LENGTH or not _NAME.fullmatch(name):
        raise picture.damaged("it has a chunk that can't be read")
    return length, name


def _read_content(picture: Picture, name: bytes, length: int) -> Generator[Step, bytes, bytes]:
    """Return a small chunk's content after a look at its checksum."""
    content = yield Read(length + 4)
    if zlib.crc32(name + content[:-4]) != int.from_bytes(content[-4:], "big"):
        raise picture.damaged(f"the checksum of its chunk {name.decode()} is wrong")
    return content[:-4]


def _walk_chunk(picture: Picture, length: int, name: bytes) -> Walk:
    if (name, length) == (b"acTL", 8):
        content = yield from _read_content(picture, name, length)
        picture.check_frames(int.from_bytes(content[:4], "big"))
    elif (name, length) == (b"fcTL", 26):
        content = yield from _read_content(picture, name, length)
        width, height, left, top = unpack(">4I", content[4:20])
        picture.count_frame(left, top, width, height)
    elif name in (b"IHDR", b"acTL", b"fcTL"):
        raise picture.damaged(f"its chunk {name.decode()} can't be read")
    else:
        yield Skip(length + 4)


def _walk_end(picture: Picture, length: int, seen: set[bytes]) -> Walk:
    if b"IDAT" not in seen:
        raise picture.damaged("it holds no picture")
    if b"acTL" not in seen:
        picture.frames = 1  # control chunks alone make no animation
    yield Skip(length)
    if (yield Read(4)) != _END_CHECKSUM:
        raise picture.damaged("its end can't be read")
    if len((yield Read(_TAIL + 1, exact=False))) > _TAIL:
        raise picture.damaged("it goes on after its end")
