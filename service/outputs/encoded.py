"""Files that providers hand out as text: base64, with or without a data URI's head."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re

from service.outputs.download import Downloaded
from service.outputs.errors import OutputRefused

_HEAD = re.compile(rb"\s*data:[^,;]{0,100}(;[^,;]{0,100})*;base64,", re.IGNORECASE)


def text_bytes(max_bytes: int) -> int:
    """Return how long the base64 text of a file of so many bytes may be, with a head and a line's end here and there."""
    return max_bytes * 4 // 3 + max_bytes // 32 + 1024


def decode(file: Downloaded, max_bytes: int) -> Downloaded:
    """Return the file that a downloaded text stands for; raises OutputRefused for anything but base64."""
    head = _HEAD.match(file.body)
    # Not a copy more than needed: a video may have gigabytes.
    text = memoryview(file.body)[head.end() if head else 0 :].tobytes().translate(None, b' \t\r\n"')
    try:
        body = bytearray(base64.b64decode(text, validate=True))
    except (ValueError, binascii.Error):
        raise OutputRefused("the provider's file should be base64 text, and is not") from None
    if len(body) > max_bytes:
        raise OutputRefused(f"the provider's file is larger than {max_bytes} bytes")
    return Downloaded(body, hashlib.sha256(body).digest(), None)
