"""Calls that a provider answers with the result itself: minutes long, so they run apart from the other work of a worker."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any
from uuid import UUID


class Calls:
    """What is under way. open: whether more may begin."""

    def __init__(self) -> None:
        self._running: dict[asyncio.Task[None], UUID] = {}
        self.open = True

    def __len__(self) -> int:
        """Return how many are under way."""
        return len(self._running)

    def carries(self, job_id: UUID) -> bool:
        """Whether a job's call is under way here."""
        return job_id in self._running.values()

    def begin(self, call: Coroutine[Any, Any, None], job_id: UUID) -> None:
        """Run a job's call to its end; it sees to its own errors."""
        running = asyncio.create_task(call, name="call")
        self._running[running] = job_id
        running.add_done_callback(self._running.pop)

    async def wait(self) -> None:
        """Return when none is under way: whoever cuts one off may have paid for nothing."""
        while self._running:
            await asyncio.wait(self._running)

    def cancel(self) -> None:
        """Break off those under way; their jobs end as `submit_unknown`. An answer that has come is still recorded."""
        for running in self._running:
            running.cancel()
