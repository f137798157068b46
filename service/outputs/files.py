"""A file that is read from front to back, wherever its bytes come from."""

from __future__ import annotations

from typing import Protocol


class File(Protocol):
    """A file on its way to a bucket, read once, from front to back."""

    @property
    def size(self) -> int | None:
        """Return the bytes it was announced to have; None when nobody said. `read` holds it to that."""
        ...

    async def read(self, most: int) -> bytearray:
        """Return the next bytes: `most` of them unless the file ends, fewer then, and none after its end.

        Raises OutputRefused (too large), TruncatedOutput (shorter than announced), SourceGone or SourceUnavailable.
        """
        ...


class InMemory:
    """A file that is in memory already."""

    def __init__(self, body: bytes | bytearray) -> None:
        self._left = memoryview(body)
        self.size = len(body)

    async def read(self, most: int) -> bytearray:
        """Return the next bytes."""
        piece, self._left = bytearray(self._left[:most]), self._left[most:]
        return piece
