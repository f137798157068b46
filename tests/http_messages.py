"""HTTP/1.1 messages as their bytes: read whole, to be passed on unchanged."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

_LINE_END = b"\r\n"


@dataclass
class Message:
    """A request or an answer: its head as it came, and its body as it came, chunks and all."""

    head: bytes
    body: bytes = b""

    @property
    def start(self) -> str:
        """Return the first line."""
        return self.head.split(_LINE_END, 1)[0].decode("latin-1")

    @property
    def status(self) -> int:
        """Return the status, of an answer."""
        return int(self.start.split(" ")[1])

    @property
    def headers(self) -> dict[str, str]:
        """Return the headers, names in lower case."""
        lines = self.head.decode("latin-1").split("\r\n")[1:]
        pairs = (line.partition(":") for line in lines if line)
        return {name.lower(): value.strip() for name, _, value in pairs}

    @property
    def length(self) -> int:
        """Return the announced length of the body."""
        return int(self.headers.get("content-length", "0"))

    def alter(self, headers: Mapping[str, str | None]) -> None:
        """Replace headers (names in lower case); None takes one out."""
        start, *lines = self.head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
        kept = [line for line in lines if line.partition(":")[0].lower() not in headers]
        new = [f"{name}: {value}" for name, value in headers.items() if value is not None]
        self.head = "\r\n".join([start, *kept, *new]).encode("latin-1") + 2 * _LINE_END

    async def read_body(self, reader: asyncio.StreamReader) -> None:
        """Read the body, chunked or of the announced length."""
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            self.body = await _read_chunks(reader)
        else:
            self.body = await reader.readexactly(self.length)


async def read_request(reader: asyncio.StreamReader) -> Message | None:
    """Read a request's head; None when the client has hung up."""
    try:
        return Message(await reader.readuntil(2 * _LINE_END))
    except asyncio.IncompleteReadError:
        return None


async def read_answer(reader: asyncio.StreamReader, method: str) -> Message:
    """Read an answer with its body."""
    answer = Message(await reader.readuntil(2 * _LINE_END))
    if method != "HEAD" and answer.status not in {204, 304}:
        await answer.read_body(reader)
    return answer


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = bytearray()
    while True:
        line = await reader.readuntil(_LINE_END)
        size = int(line.split(b";")[0], 16)
        body += line + await reader.readexactly(size + len(_LINE_END))
        if size == 0:
            return bytes(body)
