"""JPEG files of an exact size, each of them different."""

from __future__ import annotations

import io
import random

from PIL import Image

_LONGEST = 65_533  # bytes a comment may have


def jpeg_of(size: int, number: int) -> bytes:
    """Return a whole JPEG of exactly `size` bytes (4 kB or more), padded with comments that don't compress."""
    out = io.BytesIO()
    Image.new("RGB", (64, 64), (number % 256, number // 256 % 256, 90)).save(out, "JPEG")
    picture, noise = out.getvalue(), random.Random(number)
    left, comments = size - len(picture), []
    while left:
        # What is left after this comment is none or enough for a comment's own 4 bytes.
        length = min(left - 4, _LONGEST)
        if 0 < left - 4 - length < 4:
            length -= 4
        comments.append(b"\xff\xfe" + (length + 2).to_bytes(2, "big") + noise.randbytes(length))
        left -= length + 4
    return picture[:2] + b"".join(comments) + picture[2:]
