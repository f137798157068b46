"""uvicorn's HTTP protocol, with a way to hang up on a client that takes nothing any more."""

from __future__ import annotations

import socket
import struct

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_AT_ONCE = struct.pack("ii", 1, 0)


class Protocol(HttpToolsProtocol):
    """Puts `abort` into each request's state, which ends its connection at once.

    An ordinary close waits until the client has taken what lies in the buffers; one that never reads would keep them.
    """

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self.scope["state"]["abort"] = self.abort

    def abort(self) -> None:
        """Forget what has not been sent, the kernel's share included, and reset the connection."""
        connection = self.transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        self.transport.abort()
