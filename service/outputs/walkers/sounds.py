"""WAV and MP3: whether what was announced came."""

from __future__ import annotations

from service.outputs.formats import MP3_FRAME
from service.outputs.walkers.picture import Picture
from service.outputs.walkers.steps import Read, Rest, Skip, Walk

_UNKNOWN = (0, 0xFFFFFFFF)
_SEARCHED = 64 * 1024  # bytes after the tags in which sound must begin


def walk_wav(_picture: Picture) -> Walk:
    """Look at the announced length. Who writes WAV as a stream does not know it yet, and puts 0 or all ones there."""
    head = yield Read(12)
    announced = int.from_bytes(head[4:8], "little")
    yield Rest() if announced in _UNKNOWN else Skip(max(0, announced - 4))


def walk_mp3(picture: Picture) -> Walk:
    """Pass over the tags to the first frame of sound. MP3 announces no length, so that a cut one can't be told."""
    while (head := (yield Read(10, exact=False))).startswith(b"ID3"):
        if len(head) < 10:
            raise picture.truncated()
        yield Skip(_tag_length(picture, head))
    beginning = head + (yield Read(_SEARCHED, exact=False))
    if len(beginning) < 3:
        raise picture.truncated()
    if not MP3_FRAME.search(beginning):
        raise picture.damaged("no sound follows its tag")
    yield Rest()


def _tag_length(picture: Picture, head: bytes) -> int:
    """Return the length of a tag's content: four bytes of seven bits each, and ten more bytes if it has a footer."""
    if max(head[6:10]) > 0x7F:
        raise picture.damaged("its tag can't be read")
    length = 0
    for byte in head[6:10]:
        length = length << 7 | byte
    return length + (10 if head[5] & 0x10 else 0)
