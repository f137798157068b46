"""Cutting a connection on purpose, which ASGI has no word for.

uvicorn's `send` is a method of an object that holds the transport. It is taken from there before Starlette wraps it.
"""

from __future__ import annotations

import socket
import struct
from asyncio import Transport
from typing import cast

from starlette.applications import Starlette
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

_KEY = "genrelay.transport"
_NO_LINGER = struct.pack("ii", 1, 0)  # close() then sends RST instead of FIN


class CuttableStarlette(Starlette):
    """A Starlette whose answers may be `Reset` or `CutShort` when uvicorn serves it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Remember the transport, then go on as usual."""
        scope[_KEY] = getattr(getattr(send, "__self__", None), "transport", None)
        await super().__call__(scope, receive, send)


class Reset(Response):
    """No answer at all: the connection is reset."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Reset the connection, and wait until the server has noticed."""
        transport = _transport(scope)
        cast(socket.socket, transport.get_extra_info("socket")).setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER
        )
        transport.abort()
        await _wait_for_disconnect(receive)


class CutShort(Response):
    """Half of the body under the length of the whole, then the connection closes."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send headers and half of the body, close, and wait until the server has noticed."""
        transport, body = _transport(scope), bytes(self.body)
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
        transport.close()
        await _wait_for_disconnect(receive)


def _transport(scope: Scope) -> Transport:
    transport = scope.get(_KEY)
    if transport is None:
        raise RuntimeError("only uvicorn lets the sandbox cut a connection")
    return cast(Transport, transport)


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
