"""The smallest videos and sounds: real containers with next to nothing in them."""

from __future__ import annotations

import io
import math
import struct
import wave

_RATE = 8000
_MATRIX = struct.pack(">9i", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)


def make_mp4(words: str) -> bytes:
    """Return an MP4 without tracks; `words` lie in a `free` box, so that two clips differ."""
    movie_header = struct.pack(">5I", 0, 0, 0, 1000, 0) + struct.pack(">IH10x", 0x10000, 0x100) + _MATRIX
    movie = _box(b"mvhd", movie_header + bytes(24) + struct.pack(">I", 1))
    brands = b"isom" + struct.pack(">I", 512) + b"isom" + b"mp41"
    return _box(b"ftyp", brands) + _box(b"free", words.encode("utf-8", "replace")) + _box(b"moov", movie)


def make_wav(number: int) -> bytes:
    """Return a quarter of a second of a tone whose height comes from `number`."""
    pitch = 220 * 2 ** (number % 24 / 12)
    samples = (round(8000 * math.sin(2 * math.pi * pitch * at / _RATE)) for at in range(_RATE // 4))
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setparams((1, 2, _RATE, 0, "NONE", "not compressed"))
        sound.writeframes(b"".join(struct.pack("<h", sample) for sample in samples))
    return file.getvalue()


def _box(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + name + content
