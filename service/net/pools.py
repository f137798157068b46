"""A wide pool made of narrow ones.

httpcore walks through all connections of a pool at every request, for every idle connection anew, so one pool of a hundred
costs many times what ten of ten cost. Requests go to the first narrow pool with room, so that a little load stays on few
connections and reuses them.
"""

from __future__ import annotations

from collections.abc import Callable

import httpcore

NARROW = 8


class WidePool:
    """Up to `connections` connections in pools of eight."""

    def __init__(self, make: Callable[[int], httpcore.AsyncConnectionPool], connections: int) -> None:
        self._pools = [make(NARROW) for _ in range(max(1, -(-connections // NARROW)))]
        self._busy = [0] * len(self._pools)

    async def handle_async_request(self, request: httpcore.Request) -> tuple[httpcore.Response, Callable[[], None]]:
        """Send a request; the second value is to be called once its response is closed."""
        at = next((i for i, busy in enumerate(self._busy) if busy < NARROW), None)
        if at is None:
            at = min(range(len(self._busy)), key=self._busy.__getitem__)
        self._busy[at] += 1
        released = False

        def release() -> None:
            nonlocal released
            if not released:
                released = True
                self._busy[at] -= 1

        try:
            return await self._pools[at].handle_async_request(request), release
        except BaseException:
            release()
            raise

    async def aclose(self) -> None:
        """Close every connection."""
        for pool in self._pools:
            await pool.aclose()
