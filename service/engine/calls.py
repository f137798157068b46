"""Calls that a provider answers with the result itself: minutes long, so they run apart from the other work of a worker."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


class Calls:
    """What is under way; open until `close` is called."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[None]] = set()
        self.open = True

    def __len__(self) -> int:
        """Return how many are under way."""
        return len(self._running)

    def begin(self, call: Coroutine[Any, Any, None], name: str) -> None:
        """Run a call to its end; what it raises is its own business."""
        running = asyncio.create_task(call, name=name)
        self._running.add(running)
        running.add_done_callback(self._running.discard)

    async def close(self) -> None:
        """Begin no more, and wait for those under way: whoever cuts one off may have paid for nothing."""
        self.open = False
        await self.wait()

    async def wait(self) -> None:
        """Return when none is under way."""
        while self._running:
            await asyncio.wait(self._running)

    def cancel(self) -> None:
        """Break off those under way; their jobs end as `submit_unknown`."""
        for running in self._running:
            running.cancel()
