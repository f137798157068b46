"""Thousands of clients that listen to the feed, in one process: each a connection that counts what comes.

Run as `python -m tests.bench.listening_load PORT COUNT KEY`. It prints one JSON line when all are open, then reads lines:
`told` waits until everybody has had the event and prints when that was, `comments` prints how many of them had a comment
since they were last asked. Times are of `time.monotonic`, which all processes of a machine share.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from collections.abc import Sequence

import uvloop

WANTED = b"event: job.queued"
_OPENING = 200  # connections that are being opened at a time
_TOLD_SECONDS = 60.0


class Listener(asyncio.Protocol):
    """One client."""

    __slots__ = ("comments", "opened", "told_at")

    def __init__(self, opened: asyncio.Future[None]) -> None:
        self.opened: asyncio.Future[None] | None = opened
        self.comments = 0
        self.told_at: float | None = None

    def data_received(self, data: bytes) -> None:
        """Count what comes; the pieces are so small that each comes whole."""
        if self.opened is not None:
            if b"\r\n\r\n" in data and data.startswith(b"HTTP/1.1 200"):
                self.opened.set_result(None)
            else:
                self.opened.set_exception(RuntimeError(data[:300].decode("latin-1")))
            self.opened = None
        self.comments += data.count(b": still here")
        if WANTED in data:
            self.told_at = time.monotonic()

    def connection_lost(self, exc: Exception | None) -> None:
        """Say so: nobody ends a stream while it is measured."""
        sys.stderr.write(f"a stream was cut: {exc!r}\n")


async def _open(port: int, request: bytes, turn: asyncio.Semaphore) -> Listener:
    loop = asyncio.get_running_loop()
    async with turn:
        opened = loop.create_future()
        transport, listener = await loop.create_connection(lambda: Listener(opened), "127.0.0.1", port)
        transport.write(request)
        await opened
        return listener


async def _told(listeners: Sequence[Listener]) -> None:
    end = time.monotonic() + _TOLD_SECONDS
    while any(each.told_at is None for each in listeners) and time.monotonic() < end:
        await asyncio.sleep(0.02)
    times = [each.told_at for each in listeners if each.told_at is not None]
    _print({"told": len(times), "first": min(times, default=0.0), "last": max(times, default=0.0)})


def _print(said: object) -> None:
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()


async def _run(port: int, count: int, key: str) -> None:
    request = (
        "GET /v1/events?type=job.queued HTTP/1.1\r\nHost: genrelay\r\nAccept: text/event-stream\r\n"
        f"Authorization: Bearer {key}\r\n\r\n"
    ).encode()
    turn = asyncio.Semaphore(_OPENING)
    began = time.monotonic()
    listeners = await asyncio.gather(*(_open(port, request, turn) for _ in range(count)))
    _print({"open": len(listeners), "seconds": time.monotonic() - began})
    loop = asyncio.get_running_loop()
    while line := (await loop.run_in_executor(None, sys.stdin.readline)).strip():
        if line == "told":
            await _told(listeners)
        else:
            _print({"comments": sum(each.comments > 0 for each in listeners)})
            for each in listeners:
                each.comments = 0


def main() -> None:
    """Run it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    port, count, key = sys.argv[1:]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(int(port), int(count), key))


if __name__ == "__main__":
    main()
