"""Counts things that happen, and lets others wait until more of them have."""

from __future__ import annotations

import asyncio


class Count:
    """How often something has happened, and who waits for more of it."""

    def __init__(self) -> None:
        self.count = 0
        self._waiting: list[tuple[int, asyncio.Future[bool]]] = []

    def add(self) -> None:
        """Count one more."""
        self.count += 1
        for wanted, waiter in self._waiting:
            if self.count >= wanted and not waiter.done():
                waiter.set_result(True)

    def end(self) -> None:
        """Let nobody wait any longer."""
        for _, waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(False)

    async def more(self, count: int) -> bool:
        """Wait for so many more; False when they don't come."""
        if count == 0:
            return True
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((self.count + count, waiter))
        return await waiter
