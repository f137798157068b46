"""Pictures of any size, and a server that lets them flow: whole, too short, altered, without a length, slowly."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.listening import listening

_ROW = 3000  # bytes of a row of 1,000 pixels
_HEADER = 54


def picture(size: int, seed: int = 1) -> bytes:
    """Return a BMP picture of exactly so many bytes, full of noise."""
    rows = max(1, (size - _HEADER) // _ROW)
    width = 1000 if size >= _HEADER + _ROW else 1
    pixels = rows * (_ROW if width == 1000 else 4)
    offset = size - pixels
    header = (
        b"BM" + size.to_bytes(4, "little") + bytes(4) + offset.to_bytes(4, "little")
        + (40).to_bytes(4, "little") + width.to_bytes(4, "little") + rows.to_bytes(4, "little")
        + b"\x01\0\x18\0" + bytes(4) + pixels.to_bytes(4, "little") + bytes(16)
    )  # fmt: skip
    return header + bytes(offset - _HEADER) + random.Random(seed).randbytes(pixels)


@dataclass
class Source:
    """A file behind a URL. body: what it is. announced: whether its length is said.

    stop_at: bytes after which nothing comes until `go_on` is set; cut_at: bytes after which the connection is broken off.
    begun, ended: how often it was asked for, and how often that is over.
    """

    body: bytes
    announced: bool = True
    stop_at: int | None = None
    cut_at: int | None = None
    port: int = 0
    begun: int = 0
    ended: int = 0
    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        """Return where it is."""
        return f"http://127.0.0.1:{self.port}/picture?token=query-secret"

    async def answer(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Send it."""
        self.begun += 1
        try:
            await self._answer(writer)
        finally:
            self.ended += 1

    async def _answer(self, writer: asyncio.StreamWriter) -> None:
        said = f"Content-Length: {len(self.body)}" if self.announced else "Transfer-Encoding: chunked"
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Type: image/bmp\r\n{said}\r\n\r\n".encode())
        at = 0
        for end in sorted({self.stop_at or 0, self.cut_at or 0, len(self.body)} - {0}):
            await self._send(writer, self.body[at:end])
            at = end
            if end == self.stop_at:
                self.stopped.set()
                await self.go_on.wait()
            if end == self.cut_at:
                return
        if not self.announced:
            writer.write(b"0\r\n\r\n")
            await writer.drain()

    async def _send(self, writer: asyncio.StreamWriter, body: bytes) -> None:
        step = 2**18
        for at in range(0, len(body), step):
            piece = body[at : at + step]
            writer.write(piece if self.announced else b"%x\r\n%b\r\n" % (len(piece), piece))
            await writer.drain()


@asynccontextmanager
async def flowing(source: Source) -> AsyncIterator[Source]:
    """Serve a file until the block ends."""
    async with listening(source.answer) as listener:
        source.port = listener.port
        try:
            yield source
        finally:
            source.go_on.set()
