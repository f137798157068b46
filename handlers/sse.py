"""Server-Sent Events on the wire: https://html.spec.whatwg.org/multipage/server-sent-events.html"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Literal

from starlette.types import Receive, Scope, Send

from handlers.accept import EVENT_STREAM
from service.db.pool import DATABASE_AWAY
from service.events.feed import StoppingError, Told, TooSlowError
from service.ids import show

# Why a stream ended: its job did, its time was over, the process stops, its reader was too slow or has hung up, or the
# database was away.
Reason = Literal["job_ended", "time", "stopping", "slow", "gone", "database"]
START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [
        (b"content-type", EVENT_STREAM.encode()),
        (b"cache-control", b"no-store"),
        (b"vary", b"Accept"),
        # nginx would hold events back until its buffer is full.
        (b"x-accel-buffering", b"no"),
    ],
}
COMMENT = b": still here\n\n"

# Milliseconds. Clients come back at different moments, also when a process has stopped and ended all its streams at once.
_RETRY = (1000, 5000)
_CHUNK = 32 * 1024  # bytes
_LAST_WORD_SECONDS = 2.0
_LOOK_SECONDS = 1.0


class StuckError(Exception):
    """The reader has taken nothing for too long."""


class Line:
    """The connection to one reader.

    send_seconds: how long it may take nothing. stopping: whether the process is about to end.
    """

    __slots__ = ("_end", "_gone", "_receive", "_scope", "_send", "_send_seconds", "_stopping")

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, *, send_seconds: float, stopping: Callable[[], bool]
    ) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        self._send_seconds, self._stopping = send_seconds, stopping
        self._gone = False
        self._end: asyncio.Timeout | None = None

    async def run(self, tell: Callable[[], Awaitable[Reason]], seconds: float) -> Reason:
        """Answer with what `tell` sends, for so many seconds at most; returns why it ended."""
        watch = asyncio.create_task(self._watch(), name="reader of a stream")
        try:
            reason = await self._speak(tell, seconds)
            if reason != "gone":
                await self._finish(watch)
            return reason
        finally:
            watch.cancel()

    async def send(self, body: bytes) -> None:
        """Send a piece; raises StuckError when the reader takes nothing for too long."""
        await self._send_within(self._send_seconds, {"type": "http.response.body", "body": body, "more_body": True})

    async def _speak(self, tell: Callable[[], Awaitable[Reason]], seconds: float) -> Reason:
        try:
            async with asyncio.timeout(seconds) as self._end:
                # A copy: whoever is around us adds headers to it.
                await self._send({**START})
                await self.send(b"retry: %d\n\n" % random.randint(*_RETRY))  # noqa: S311 - no secret
                return await tell()
        except (TooSlowError, StuckError):
            return "slow"
        except StoppingError:
            return "stopping"
        except DATABASE_AWAY:
            if self._gone:
                return "gone"
            return "time" if self._end is not None and self._end.expired() else "database"
        finally:
            self._end = None

    async def _watch(self) -> None:
        """Notice when the client hangs up; nobody else reads from it."""
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone = True
        if self._end is not None:
            self._end.reschedule(0)

    async def _finish(self, watch: asyncio.Task[None]) -> None:
        """Send the end; a reader that does not even take that is hung up on."""
        try:
            await self._send_within(_LAST_WORD_SECONDS, {"type": "http.response.body"})
        except StuckError:
            abort = self._scope["state"].get("abort")
            if abort is not None:
                abort()
                with suppress(TimeoutError):
                    # Returning any earlier would look like an answer that was forgotten in the middle.
                    await asyncio.wait_for(watch, _LAST_WORD_SECONDS)

    async def _send_within(self, seconds: float, message: dict[str, object]) -> None:
        """Send; it blocks only before anything of the message is written, so that it can be tried again."""
        left = seconds
        while left > 0:
            pause = min(left, _LOOK_SECONDS)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._send(message)
                    return
            left = left - pause if not self._stopping() else 0
        raise StuckError


@lru_cache(maxsize=256)
def frame(told: Told) -> bytes:
    """Return an event as a stream has it. The same few are sent to thousands."""
    head = f"id: {show('evt', told.event_id)}\nevent: {told.type}\ndata: "
    # One line: JSON has no bare line breaks.
    return head.encode() + told.body + b"\n\n"


def chunks(told: Sequence[Told]) -> Iterator[bytes]:
    """Yield events in pieces, so that little lies in the buffers of a reader that is slow."""
    held, size = [], 0
    for each in told:
        held.append(frame(each))
        size += len(held[-1])
        if size >= _CHUNK:
            yield b"".join(held)
            held, size = [], 0
    if held:
        yield b"".join(held)
