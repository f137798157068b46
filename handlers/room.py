"""Memory for big bodies: so many at a time, no more than half of it for one account, and nobody waits for long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import AsyncExitStack, asynccontextmanager

from handlers.bodies import Body
from handlers.problems import unavailable
from handlers.waiting import while_connected
from service.outputs.memory import MemoryBudget

_COPIES = 3  # its bytes, its text and what is parsed out of it
_AT_ONCE = 4  # of the largest size
_WAIT_SECONDS = 10.0


class Room:
    """The memory that one process has for big bodies."""

    def __init__(self, largest: int) -> None:
        """largest: bytes of the largest body."""
        total = _AT_ONCE * _COPIES * largest
        self._budget = MemoryBudget(total, share=total // 2)

    @asynccontextmanager
    async def hold(self, owner: Hashable, body: Body) -> AsyncIterator[None]:
        """Begin to read a body, and hold memory for all of it until the block ends, if it is big.

        So whoever sends nothing holds nothing. Raises Problem 503 when there is none for too long, and ClientDisconnect.
        """
        size = await body.begin() * _COPIES
        async with AsyncExitStack() as held:
            if size:
                await while_connected(body.watch, self._wait(held, size, owner))
            yield

    async def _wait(self, held: AsyncExitStack, size: int, owner: Hashable) -> None:
        try:
            async with asyncio.timeout(_WAIT_SECONDS):
                await held.enter_async_context(self._budget.reserve(size, owner))
        except TimeoutError:
            raise unavailable("other large bodies are being read, as many as there is memory for") from None
