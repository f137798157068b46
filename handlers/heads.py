"""Whatever of a request is no body is bounded, in bytes and in time; the parser below would take it without end."""

from __future__ import annotations

import asyncio
from uuid import uuid4

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from handlers.problems import Problem

MOST_BYTES = 64 * 1024
# As long as an idle connection is kept: whoever opens one ahead of time is not hung up on any sooner.
_SECONDS = 75.0
# Who is refused is still sending; hanging up at once would keep the answer from it.
_LAST_WORD_SECONDS = 2.0
_LAST_WORD_BYTES = 16 * 2**20


class _TooLargeError(Exception):
    """The head of a request is too large."""


class BoundedHeads(HttpToolsProtocol):
    """uvicorn's HTTP protocol that answers 431 to a head that is too large, and hangs up on one that does not come.

    Trailers are ignored, and it hangs up on too many of them, as on anything else that is neither a head nor a body.
    """

    _in_head = True  # a connection begins with one
    _bytes = 0  # since the end of a head, or a piece of a body
    _too_large = False
    _left: int | None = None  # bytes of a refused request that are still read, and thrown away
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first head."""
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what came, unless it belongs to a request that is refused."""
        if self._left is not None:
            self._left -= len(data)
            if self._left <= 0:
                self.transport.close()
            return
        self._bytes += len(data)
        super().data_received(data)
        # uvicorn's own timer ends with whatever comes, be it the rest of a body that nobody reads, or an empty line.
        idle = self._in_head or (self.cycle is not None and self.cycle.response_complete)
        if (idle or self._bytes > MOST_BYTES) and self._left is None and not self.transport.is_closing():
            self._wait_within_bounds()

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._in_head = True
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; a trailer, which comes after the body, is none (RFC 9110, 6.5.1)."""
        if self._in_head:
            super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        """Take a piece of a body, which is bounded elsewhere."""
        self._bytes = 0
        super().on_body(body)

    def on_headers_complete(self) -> None:
        """Begin to answer a request."""
        self._in_head, self._bytes = False, 0
        self._stop_waiting()
        if len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers) > MOST_BYTES:
            self._too_large = True
            raise _TooLargeError
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no request; the parser makes the same of whatever is raised while it is at work."""
        if self._too_large:
            self._refuse()
        else:
            super().send_400_response(msg)

    def _wait_within_bounds(self) -> None:
        if self._bytes <= MOST_BYTES:
            self._wait()
        elif self._in_head:
            self._refuse()
        else:
            self.transport.close()

    def _refuse(self) -> None:
        self._stop_waiting()
        self._left = _LAST_WORD_BYTES
        if self.cycle is not None and not self.cycle.response_complete:
            # In the middle of another answer there is no place for this one.
            self.transport.close()
            return
        self.transport.write(_refusal())
        self._timer = self.loop.call_later(_LAST_WORD_SECONDS, self.transport.close)

    def _wait(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(_SECONDS, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _refusal() -> bytes:
    detail = f"the request line and the headers have more than {MOST_BYTES} bytes"
    request_id = uuid4().hex
    answer = Problem(431, "head_too_large", detail, headers={"Connection": "close"}).response(request_id)
    headers = [*answer.raw_headers, (b"x-request-id", request_id.encode())]
    return b"".join(
        [STATUS_LINE[431], *(name + b": " + value + b"\r\n" for name, value in headers), b"\r\n", bytes(answer.body)]
    )
