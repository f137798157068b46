"""Files that providers hand out as text: base64, with or without a data URI's head."""

from __future__ import annotations

import asyncio
import base64
import binascii
import re

from service.outputs.errors import OutputRefused
from service.outputs.files import File

_HEAD = re.compile(rb"\s{0,16}data:[^,;]{0,100}(;[^,;]{0,100}){0,4};base64,", re.IGNORECASE)
_HEAD_BYTES = 1024  # more than any head that is taken
_SPACES = b' \t\r\n"'
_STEP = 2**18  # bytes that are decoded at a time, which takes less than a millisecond


def text_bytes(max_bytes: int) -> int:
    """Return how long the base64 text of a file of so many bytes may be, with a head and a line's end here and there."""
    return max_bytes * 4 // 3 + max_bytes // 16 + 1024


class Decoded:
    """The file (`service.outputs.files.File`) that a text stands for, decoded piece by piece as it is read.

    Its size is not known before its end: a text may have line ends in it. Reading raises OutputRefused for anything but
    base64, and what reading the text raises.
    """

    size: int | None = None

    def __init__(self, text: File, max_bytes: int) -> None:
        self._text = text
        self._max_bytes = max_bytes
        self._came = 0
        self._begun = False
        self._padded = False
        self._undecoded = b""
        self._left = bytearray()

    async def read(self, most: int) -> bytearray:
        """Return the next bytes: `most` of them unless the file ends, fewer then, and none after its end."""
        piece = self._left
        while len(piece) < most:
            text = await self._read_text(min(_STEP, (most - len(piece)) * 4 // 3 + 4))
            if not text:
                self._end()
                break
            piece += self._decode(text)
            await asyncio.sleep(0)
        self._left = piece[most:]
        del piece[most:]
        return piece

    async def _read_text(self, most: int) -> bytearray:
        if self._begun:
            return await self._text.read(most)
        self._begun = True
        text = await self._text.read(max(most, _HEAD_BYTES))
        if head := _HEAD.match(text):
            del text[: head.end()]
            # Nothing would be the end.
            return text or await self._text.read(most)
        return text

    def _decode(self, text: bytearray) -> bytes:
        piece = self._undecoded + text.translate(None, _SPACES)
        if self._padded and piece:  # padding is the end
            raise _not_base64()
        whole = len(piece) // 4 * 4
        try:
            body = base64.b64decode(piece[:whole], validate=True)
        except (ValueError, binascii.Error):
            raise _not_base64() from None
        self._padded = self._padded or piece[:whole].endswith(b"=")
        self._undecoded = piece[whole:]
        self._came += len(body)
        if self._came > self._max_bytes:
            raise OutputRefused(f"the provider's file is larger than {self._max_bytes} bytes")
        return body

    def _end(self) -> None:
        if self._undecoded:
            raise _not_base64()


def _not_base64() -> OutputRefused:
    return OutputRefused("the provider's file should be base64 text, and is not")
