"""Connections of our AWS clients, which hang up on a server that says `100 Continue` for ever.

aiohttp skips any number of interim answers (1xx), parses all that came at once, and takes each for progress. Its connector
has no public place for another protocol.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any, cast

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import HttpProcessingError

_MOST_INTERIM = 100
_PIECE_OF_HEAD = 2**12  # bytes; each may hold hundreds of interim answers


class Connector(aiohttp.TCPConnector):
    """Opens connections that bear a hundred interim answers to a request; takes what aiohttp's own takes."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._factory = cast("partial[ResponseHandler]", partial(_Connection, loop=self._loop))


class _Connection(ResponseHandler):
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._interim, self._in_head = 0, True

    def set_response_params(self, **settings: Any) -> None:
        """Begin to read the answer to a request."""
        self._interim, self._in_head = 0, True
        super().set_response_params(**settings)

    def data_received(self, data: bytes) -> None:
        """Take what came; up to the end of the head in pieces, so that no more of it is parsed than has to be."""
        while self._in_head and len(data) > _PIECE_OF_HEAD and self.exception() is None:
            super().data_received(data[:_PIECE_OF_HEAD])
            data = data[_PIECE_OF_HEAD:]
        if self.exception() is None:
            super().data_received(data)

    def feed_data(self, data: Any, size: int = 0) -> None:
        """Take a message that was parsed: a head, and the stream of its body."""
        self._in_head = 100 <= data[0].code < 200
        self._interim += self._in_head
        if self._interim <= _MOST_INTERIM:
            super().feed_data(data, size)
            return
        if self.transport is not None:
            self.transport.abort()
        self.set_exception(HttpProcessingError(code=400, message="too many interim answers"))
