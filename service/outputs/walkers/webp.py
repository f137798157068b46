"""WebP: chunks within a RIFF container; the frames of an animation are containers in turn."""

from __future__ import annotations

from collections.abc import Generator

from service.outputs.walkers.picture import Picture
from service.outputs.walkers.steps import Read, Skip, Step, Walk

Size = tuple[int, int]
_SIZE_BYTES = {b"VP8 ": 10, b"VP8L": 5}  # of a bitstream, its first ones, which tell its size


def walk_webp(picture: Picture) -> Walk:
    """Pass over the chunks as far as the container reaches; what follows it counts as nothing."""
    head = yield Read(12)
    room = int.from_bytes(head[4:8], "little") - 4
    name, length, space = yield from _read_head(picture, room)
    room -= 8 + space
    if name == b"VP8X":
        size = yield from _read_canvas(picture, length)
        yield Skip(space - 10)
        yield from _walk_chunks(picture, room, size)
    else:
        picture.measure(*(yield from _read_size(picture, name, length)))
        yield Skip(space - _SIZE_BYTES[name] + room)
    picture.frames = picture.frames or 1


def _read_head(picture: Picture, room: int) -> Generator[Step, bytes, tuple[bytes, int, int]]:
    """Return the next chunk's name, its length, and the same with padding, which may be missing at the very end."""
    if room < 8:
        raise picture.damaged("its header can't be read")
    head = yield Read(8)
    length = int.from_bytes(head[4:], "little")
    if length > room - 8:
        raise picture.damaged("it has a chunk that reaches beyond its end")
    return head[:4], length, min(length + length % 2, room - 8)


def _read_canvas(picture: Picture, length: int) -> Generator[Step, bytes, Size]:
    if length < 10:
        raise picture.damaged("its header can't be read")
    header = yield Read(10)
    size = int.from_bytes(header[4:7], "little") + 1, int.from_bytes(header[7:], "little") + 1
    picture.measure(*size)
    return size


def _read_size(picture: Picture, name: bytes, length: int) -> Generator[Step, bytes, Size]:
    """Return a bitstream's size, out of its first bytes."""
    if length < _SIZE_BYTES.get(name, length + 1):
        raise picture.damaged("its header can't be read")
    data = yield Read(_SIZE_BYTES[name])
    if name == b"VP8 " and data[3:6] == b"\x9d\x01\x2a":
        return int.from_bytes(data[6:8], "little") & 0x3FFF, int.from_bytes(data[8:], "little") & 0x3FFF
    if name == b"VP8L" and data[0] == 0x2F:
        bits = int.from_bytes(data[1:], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    raise picture.damaged("its header can't be read")


def _walk_chunks(picture: Picture, room: int, size: Size, *, within_frame: bool = False) -> Walk:
    """Pass over a container's chunks; a picture in it must have the size that the container announced."""
    pictures = 0
    while room >= 8:
        name, length, space = yield from _read_head(picture, room)
        room -= 8 + space
        if name == b"ANMF" and not within_frame:
            yield from _walk_frame(picture, length)
            space -= length
            pictures += 1
        elif name in _SIZE_BYTES:
            if (yield from _read_size(picture, name, length)) != size:
                raise picture.damaged("it tells two sizes")
            space -= _SIZE_BYTES[name]
            pictures += 1
        yield Skip(space)
    if not pictures:
        raise picture.damaged("it holds no picture")
    yield Skip(room)


def _walk_frame(picture: Picture, length: int) -> Walk:
    if length < 16:
        raise picture.damaged("a frame of it can't be read")
    header = yield Read(16)
    left, top, width, height = (int.from_bytes(header[at : at + 3], "little") for at in (0, 3, 6, 9))
    size = width + 1, height + 1
    picture.count_frame(left * 2, top * 2, *size)
    yield from _walk_chunks(picture, length - 16, size, within_frame=True)
