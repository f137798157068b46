"""Small servers on this machine that count who connects to them."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.serving import close_when_accepted

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Listener:
    """A listening socket: its port, how many connections it took, and the heads of the requests that came."""

    port: int = 0
    connections: int = 0
    requests: list[bytes] = field(default_factory=list)


def answering(*answers: bytes) -> Answer:
    """Answer the n-th request of a connection with the n-th of these bytes, then close it."""

    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for each in answers:
            writer.write(each)
        await writer.drain()

    return answer


def ok(body: bytes, *headers: str) -> bytes:
    """Return a whole HTTP answer that closes its connection."""
    return http_answer(200, body, *headers)


def http_answer(status: int, body: bytes = b"", *headers: str) -> bytes:
    """Return a whole HTTP answer with this status."""
    lines = [f"HTTP/1.1 {status} Status", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


# What an S3 server says to a write.
WRITTEN = http_answer(200, b"", 'ETag: "written"')


@asynccontextmanager
async def listening(
    answer: Answer, *, address: str = "127.0.0.1", tls: ssl.SSLContext | None = None
) -> AsyncIterator[Listener]:
    """Listen until the block ends; each connection has one request read and one answer given."""
    listener = Listener()
    open_ends: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        listener.connections += 1
        open_ends.add(writer)
        try:
            listener.requests.append(await reader.readuntil(b"\r\n\r\n"))
            await answer(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, address, 0, ssl=tls)
    listener.port = server.sockets[0].getsockname()[1]
    try:
        yield listener
    finally:
        await close_when_accepted(server)
        # A connection without a request would outlive the test, and its loop.
        for writer in open_ends:
            writer.transport.abort()
        await asyncio.sleep(0)
        await server.wait_closed()
