"""A provider's file server and an S3 that forgets: for benchmarks of copies whose bytes would fill any disk.

GET gives a WAV file of the size that the path names (`/source/67108864.wav`); everything that S3's PutObject, multipart
uploads and HeadObject send is read, counted and dropped. `/told` gives the counts. Written on asyncio's protocols, because
it must cost little beside what is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

_HEAD_END = b"\r\n\r\n"
_CHUNK = bytes(2**18)


def wav_head(size: int) -> bytes:
    """Return the first 44 bytes of a WAV file of `size` bytes: 16-bit stereo at 48 kHz."""
    data = size - 44
    return b"".join(
        [
            *(b"RIFF", (size - 8).to_bytes(4, "little"), b"WAVEfmt ", (16).to_bytes(4, "little")),
            *((1).to_bytes(2, "little"), (2).to_bytes(2, "little"), (48_000).to_bytes(4, "little")),
            *((192_000).to_bytes(4, "little"), (4).to_bytes(2, "little"), (16).to_bytes(2, "little")),
            *(b"data", data.to_bytes(4, "little")),
        ]
    )


class Told:
    """What came: finished objects, and bytes of bodies."""

    def __init__(self) -> None:
        self.objects = 0
        self.bytes = 0
        self.uploads = 0
        self.aborted = 0


class Connection(asyncio.Protocol):
    """One client's connection."""

    def __init__(self, told: Told) -> None:
        self._told = told
        self._head = bytearray()
        self._left = 0
        self._answer = b""
        self._resumed = asyncio.Event()
        self._resumed.set()
        self._sending: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport: Any = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop sending."""
        if self._sending is not None:
            self._sending.cancel()

    def pause_writing(self) -> None:
        """The client reads slowly."""
        self._resumed.clear()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._resumed.set()

    def data_received(self, data: bytes) -> None:
        """Drop a body's bytes; read heads."""
        if self._left:
            taken = min(self._left, len(data))
            self._left -= taken
            self._told.bytes += taken
            data = data[taken:]
            if not self._left:
                self._transport.write(self._answer)
        if data:
            self._head += data
            end = self._head.find(_HEAD_END)
            if end >= 0:
                head, rest = bytes(self._head[:end]), bytes(self._head[end + 4 :])
                self._head.clear()
                self._begin(head.decode("latin-1"))
                if rest:
                    self.data_received(rest)

    def _begin(self, head: str) -> None:
        method, target, _ = head.split(" ", 2)
        length = re.search(r"(?im)^content-length:\s*(\d+)", head)
        self._left = int(length[1]) if length else 0
        if method == "GET" and target.startswith("/source/"):
            size = int(Path(urlsplit(target).path).stem)
            self._sending = asyncio.create_task(self._send(size))
            return
        self._answer = self._decide(method, target)
        if not self._left:
            self._transport.write(self._answer)

    def _decide(self, method: str, target: str) -> bytes:
        query = parse_qs(urlsplit(target).query, keep_blank_values=True)
        told = self._told
        match method:
            case "GET":
                return _answer(200, json.dumps(vars(told)).encode(), "application/json")
            case "HEAD":
                return _answer(404)
            case "DELETE":
                told.aborted += 1
                return _answer(204)
            case "POST" if "uploads" in query:
                told.uploads += 1
                return _answer(200, _xml("InitiateMultipartUploadResult", f"<UploadId>u{told.uploads}</UploadId>"))
            case "POST":
                told.objects += 1
                return _answer(200, _xml("CompleteMultipartUploadResult", "<ETag>&quot;0&quot;</ETag>"))
            case _ if "partNumber" not in query:
                told.objects += 1
        return _answer(200, more='ETag: "0"\r\n')

    async def _send(self, size: int) -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Type: audio/wav\r\nContent-Length: {size}\r\n\r\n"
        self._transport.write(head.encode() + wav_head(size))
        left = size - 44
        while left:
            await self._resumed.wait()
            self._transport.write(_CHUNK[:left] if left < len(_CHUNK) else _CHUNK)
            left -= min(left, len(_CHUNK))


def _xml(name: str, inner: str) -> bytes:
    return f'<?xml version="1.0"?><{name} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{inner}</{name}>'.encode()


def _answer(status: int, body: bytes = b"", kind: str = "application/xml", more: str = "") -> bytes:
    head = f"HTTP/1.1 {status} told\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{more}\r\n"
    return head.encode() + body


async def serve(port_file: Path) -> None:
    """Serve until the process ends; writes its port into the file."""
    told = Told()
    server = await asyncio.get_running_loop().create_server(lambda: Connection(told), "127.0.0.1", 0, backlog=2048)
    port_file.write_text(str(server.sockets[0].getsockname()[1]))  # noqa: ASYNC240 - before anybody is served
    await server.serve_forever()


def main() -> None:
    """Run it."""
    import uvloop  # noqa: PLC0415 - as the service does

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port-file", type=Path, required=True)
    uvloop.run(serve(parser.parse_args().port_file))


if __name__ == "__main__":
    main()
