"""A proxy that a test can cut: in front of PostgreSQL or of an S3 server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

from tests.serving import close_when_accepted

Connect = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


class Proxy:
    """Passes bytes on, until it is told not to.

    `cut` ends every connection and refuses new ones, `mend` lets them through again. `trip` waits for some bytes on their
    way to the server, and ends that connection before they get there, or after they have but before an answer gets back.
    """

    def __init__(self, connect: Connect) -> None:
        self.connect = connect
        self._open: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None] | None] = set()
        self._is_cut = False
        self._trip: tuple[bytes, bool] | None = None
        self.tripped = asyncio.Event()

    def cut(self) -> None:
        """End every connection, and let no new one through."""
        self._is_cut = True
        for writer in self._open:
            writer.transport.abort()

    def mend(self) -> None:
        """Let connections through again."""
        self._is_cut = False

    def trip(self, on: bytes, *, arrives: bool) -> None:
        """End the next connection on which the client says `on`. arrives: the server hears it, its answer is lost."""
        self.tripped.clear()
        self._trip = on, arrives

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client."""
        self._open.add(writer)
        self._serving.add(serving := asyncio.current_task())
        try:
            if not self._is_cut:
                await self.pass_on(reader, writer)
        finally:
            self._open.discard(writer)
            self._serving.discard(serving)
            writer.transport.abort()

    async def close(self) -> None:
        """End every connection, and return once nobody is served any more."""
        self.cut()
        await asyncio.gather(*filter(None, self._serving), return_exceptions=True)

    async def pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client that is let through."""
        up_reader, up_writer = await self.connect()
        deaf = asyncio.Event()
        ways = [
            asyncio.create_task(self._to_server(reader, up_writer, deaf)),
            asyncio.create_task(self._to_client(up_reader, writer, deaf)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            up_writer.transport.abort()

    async def _to_server(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, deaf: asyncio.Event) -> None:
        while data := await reader.read(65536):
            if self._trip is not None and self._trip[0] in data:
                arrives, self._trip = self._trip[1], None
                if not arrives:
                    self.tripped.set()
                    return
                deaf.set()
            writer.write(data)
            await writer.drain()

    async def _to_client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, deaf: asyncio.Event) -> None:
        while data := await reader.read(65536):
            if deaf.is_set():
                # Its answer shows that the server has done what it was told.
                self.tripped.set()
                return
            writer.write(data)
            await writer.drain()


@contextlib.asynccontextmanager
async def serving_proxy(proxy: Proxy) -> AsyncIterator[int]:
    """Let a proxy listen on a free port, which is lent."""
    server = await asyncio.start_server(proxy.handle, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        await close_when_accepted(server)
        await proxy.close()


@contextlib.asynccontextmanager
async def tcp_proxy(host: str, port: int) -> AsyncIterator[tuple[Proxy, int]]:
    """Lend a proxy in front of a TCP server, and the port it listens on."""
    proxy = Proxy(lambda: asyncio.open_connection(host, port))
    async with serving_proxy(proxy) as listening_on:
        yield proxy, listening_on


@contextlib.asynccontextmanager
async def unix_proxy(path: str, upstream: str) -> AsyncIterator[Proxy]:
    """Lend a proxy at `path` in front of the server that listens at `upstream`."""
    proxy = Proxy(lambda: asyncio.open_unix_connection(upstream))
    server = await asyncio.start_unix_server(proxy.handle, path)
    try:
        yield proxy
    finally:
        await close_when_accepted(server)
        await proxy.close()
