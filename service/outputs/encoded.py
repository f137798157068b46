"""Files that providers hand out as text: base64, with or without a data URI's head."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re

from service.outputs.download import Downloaded
from service.outputs.errors import OutputRefused

# Memory for the text and for the file that comes out of it, in lengths of the text.
MEMORY = 1.75

_HEAD = re.compile(rb"\s{0,16}data:[^,;]{0,100}(;[^,;]{0,100}){0,4};base64,", re.IGNORECASE)
_SPACES = b' \t\r\n"'
_STEP = 2**20  # bytes that are decoded at a time


def text_bytes(max_bytes: int) -> int:
    """Return how long the base64 text of a file of so many bytes may be, with a head and a line's end here and there."""
    return max_bytes * 4 // 3 + max_bytes // 16 + 1024


def decode(file: Downloaded, max_bytes: int) -> Downloaded:
    """Return the file that a downloaded text stands for; raises OutputRefused for anything but base64.

    It takes milliseconds a megabyte, so call it in a thread.
    """
    head = _HEAD.match(file.body)
    try:
        body = _decode(memoryview(file.body)[head.end() if head else 0 :])
    except (ValueError, binascii.Error):
        raise OutputRefused("the provider's file should be base64 text, and is not") from None
    if len(body) > max_bytes:
        raise OutputRefused(f"the provider's file is larger than {max_bytes} bytes")
    return Downloaded(body, hashlib.sha256(body).digest(), None)


def _decode(text: memoryview) -> bytearray:
    """Decode piece by piece: a video may have gigabytes, and one copy more would be too much."""
    body, left, ended = bytearray(), b"", False
    for start in range(0, len(text), _STEP):
        piece = left + text[start : start + _STEP].tobytes().translate(None, _SPACES)
        whole = len(piece) // 4 * 4
        if ended and piece:  # padding is the end
            raise ValueError
        body += base64.b64decode(piece[:whole], validate=True)
        ended, left = piece[:whole].endswith(b"="), piece[whole:]
    if left:
        raise ValueError
    return body
