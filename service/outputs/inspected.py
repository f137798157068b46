"""Files on their way: one that is judged as it passes, and one whose beginning was read before."""

from __future__ import annotations

from service.outputs.files import File
from service.outputs.formats import Family
from service.outputs.inspecting import Inspector, Limits


class Inspected:
    """Another file, looked at on its way; its last bytes are not given out before all of it was found good."""

    def __init__(self, file: File, kind: Family, limits: Limits) -> None:
        self._file = file
        self._inspector: Inspector | None = Inspector(kind, limits)

    @property
    def size(self) -> int | None:
        """Return the bytes it was announced to have."""
        return self._file.size

    async def read(self, most: int) -> bytearray:
        """Return the next bytes, as `File` has it; raises OutputRefused or TruncatedOutput for a file that is not good."""
        piece = await self._file.read(most)
        if self._inspector is not None:
            self._inspector.feed(piece)
            if len(piece) < most:
                self._inspector.finish()
                self._inspector = None
        return piece


class Resumed:
    """A file from its beginning, of which `head` was read already."""

    def __init__(self, head: bytearray, file: File) -> None:
        self.size = file.size
        self._head = head
        self._file = file

    async def read(self, most: int) -> bytearray:
        """Return the next bytes, as `File` has it."""
        piece, self._head = self._head[:most], self._head[most:]
        if len(piece) < most:
            piece += await self._file.read(most - len(piece))
        return piece
