"""What the tests' own servers promise: nothing of them outlives a test."""

from __future__ import annotations

import asyncio
import gc
import socket

from starlette.types import Receive, Scope, Send

from tests.serving import serving


async def _silent(_scope: Scope, _receive: Receive, _send: Send) -> None:
    """Answer nothing."""


async def test_a_connection_that_comes_while_a_server_stops_is_closed() -> None:
    """It is accepted, made and known to the server in several turns of the loop; a warning at any of them is an error."""
    for turns in range(6):
        with socket.socket() as client:
            client.setblocking(False)
            async with serving(_silent) as url:
                client.connect_ex(("127.0.0.1", int(url.rpartition(":")[2])))
                for _ in range(turns):
                    await asyncio.sleep(0)
        gc.collect()
