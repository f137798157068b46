"""Connections for httpcore on asyncio's own streams.

httpcore's own backend goes through anyio, asks the kernel about every idle connection at every request, and costs more
than the request; the measured difference is a fifth of a small request's CPU.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpcore

_CHUNK = 2**18  # bytes a reader holds before it stops the sender
# Of an answer's head, with all the interim answers (1xx) before it, of which httpcore skips any number.
_MOST_OF_HEAD = 2**16  # bytes
_PIECE_OF_HEAD = 2**12  # bytes; each may hold hundreds of interim answers


@asynccontextmanager
async def _limited(seconds: float | None, late: type[Exception], broken: type[Exception]) -> AsyncIterator[None]:
    """Bound a step in time and turn the system's errors into httpcore's."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise late(type(error).__name__) from None
    except (OSError, EOFError, RuntimeError, ssl.SSLError) as error:
        raise broken(str(error) or type(error).__name__) from error


class Stream(httpcore.AsyncNetworkStream):
    """One connection. What is read after something was written is an answer's head, until `end_head` is called."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._head, self._in_head = 0, True  # the bytes that were read of it

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Return up to `max_bytes`; empty at the end. Raises RemoteProtocolError for a head that goes on and on."""
        async with _limited(timeout, httpcore.ReadTimeout, httpcore.ReadError):
            return await (self._read_head(max_bytes) if self._in_head else self._reader.read(max_bytes))

    async def _read_head(self, max_bytes: int) -> bytes:
        if self._head:
            # What has come already is read without waiting, and everybody else would wait until it is all skipped.
            await asyncio.sleep(0)
        # Asked before reading: what is read together with the head's end is the body's beginning.
        if self._head >= _MOST_OF_HEAD:
            raise httpcore.RemoteProtocolError("the head of the answer is too large")
        piece = await self._reader.read(min(max_bytes, _PIECE_OF_HEAD))
        self._head += len(piece)
        return piece

    def end_head(self) -> None:
        """Say that an answer's head is there, and that what follows is its body."""
        self._in_head = False

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send everything; waits only when the kernel's buffer is full."""
        if not buffer:
            return
        if self._writer.is_closing():
            raise httpcore.WriteError("the connection is closed")
        self._head, self._in_head = 0, True
        self._writer.write(buffer)
        if self._writer.transport.get_write_buffer_size() > 0:
            async with _limited(timeout, httpcore.WriteTimeout, httpcore.WriteError):
                await self._writer.drain()

    async def aclose(self) -> None:
        """Close the connection without waiting for the other side."""
        with suppress(OSError, RuntimeError):
            self._writer.close()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Continue encrypted, the certificate checked against `server_hostname`."""
        try:
            async with _limited(timeout, httpcore.ConnectTimeout, httpcore.ConnectError):
                await self._writer.start_tls(ssl_context, server_hostname=server_hostname)
        except BaseException:
            self._writer.transport.abort()
            raise
        return self

    def get_extra_info(self, info: str) -> Any:
        """Answer what httpcore asks about a connection."""
        match info:
            case "is_readable":
                # An idle connection that has something to say, or has ended, is of no use any more.
                return self._reader.at_eof() or self._writer.is_closing()
            case "ssl_object":
                return self._writer.get_extra_info("ssl_object")
            case "client_addr":
                return self._writer.get_extra_info("sockname")
            case "server_addr":
                return self._writer.get_extra_info("peername")
            case "socket":
                return self._writer.get_extra_info("socket")
        return None


class StreamBackend(httpcore.AsyncNetworkBackend):
    """Opens connections."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to a host; `timeout` in seconds covers DNS too."""
        local = None if local_address is None else (local_address, 0)
        async with _limited(timeout, httpcore.ConnectTimeout, httpcore.ConnectError):
            reader, writer = await asyncio.open_connection(host, port, local_addr=local, limit=_CHUNK)
        raw: socket.socket = writer.get_extra_info("socket")
        for option in socket_options or ():
            raw.setsockopt(*option)
        return Stream(reader, writer)

    async def sleep(self, seconds: float) -> None:
        """Wait; httpcore's interface, used by its retries, which are off."""
        await asyncio.sleep(seconds)
