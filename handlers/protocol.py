"""uvicorn's HTTP protocol, with a way to hang up on a client that takes nothing any more."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from handlers.heads import BoundedHeads

if TYPE_CHECKING:
    from uvicorn._types import ASGISendEvent

_AT_ONCE = struct.pack("ii", 1, 0)


class Protocol(BoundedHeads):
    """Puts `abort` into each request's state, which ends its connection at once.

    An ordinary close waits until the client has taken what lies in the buffers; one that never reads would keep them.
    """

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self.scope["state"]["abort"] = self.abort

    def on_headers_complete(self) -> None:
        """Begin to answer a request; its task has not run yet when this returns."""
        super().on_headers_complete()
        if self.cycle is not None and self.cycle.scope["http_version"] == "1.0":
            # uvicorn has no other way to have a cycle of one's own.
            self.cycle.__class__ = _OldCycle
        leaving = getattr(self.server_state, "leaving", None)
        if self.cycle is not None and leaving is not None and leaving.begun:
            # Said in the answer, so that the client's next request goes to whoever stays.
            self.cycle.keep_alive = False

    def abort(self) -> None:
        """Forget what has not been sent, the kernel's share included, and reset the connection."""
        connection = self.transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        self.transport.abort()


def is_busy(connection: Any) -> bool:
    """Whether a connection has a request under way."""
    return connection.cycle is not None and not connection.cycle.response_complete


def is_new(connection: Any) -> bool:
    """Whether nothing has been asked for on a connection yet."""
    return connection.cycle is None


def close_after_answers(connections: Iterable[Any]) -> None:
    """Close each of these connections of uvicorn's after the answer to what it has under way; idle ones are left alone."""
    for connection in connections:
        if is_busy(connection):
            connection.cycle.keep_alive = False


class _OldCycle(RequestResponseCycle):
    """An answer to HTTP/1.0, as nginx speaks it unless told otherwise: without a length, it ends with its connection.

    uvicorn would send chunks, whose sizes an old client takes for a part of the body.
    """

    _without_length = False

    async def send(self, message: ASGISendEvent) -> None:
        """Send a part of the answer."""
        if message["type"] == "http.response.start":
            self._without_length = all(name.lower() != b"content-length" for name, _ in message.get("headers", ()))
            if self._without_length:
                self.chunked_encoding = False
        elif message["type"] == "http.response.body" and self._without_length:
            # Each part is as long as it is.
            self.expected_content_length = len(message.get("body", b""))
        await super().send(message)
