"""Leaving: from the moment a process is told to stop, it asks not to be sent anything new, and still answers."""

from __future__ import annotations

import asyncio


class Leaving:
    """Whether this process is on its way out; `/readyz` says so, so that whoever routes requests goes elsewhere."""

    def __init__(self) -> None:
        self._begun = asyncio.Event()

    @property
    def begun(self) -> bool:
        """Whether it has begun."""
        return self._begun.is_set()

    def begin(self) -> None:
        """Say that the process leaves; twice is once."""
        self._begun.set()

    async def wait(self) -> None:
        """Return once it has begun."""
        await self._begun.wait()
