"""Pools made of narrow ones: a wide one for few hosts, and one per host for many.

httpcore walks through all connections of a pool at every request, for every idle connection anew, so one pool of a hundred
costs many times what ten of ten cost. Requests go to the first narrow pool with room, so that a little load stays on few
connections and reuses them. Where there are many hosts, each has a pool of its own: in a shared one, a connection that is kept
for one host is closed to make room for the next.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import httpcore

NARROW = 8
_MOST_HOSTS = 512
_Host = tuple[bytes, int | None]


class Pool(Protocol):
    """What requests of one scheme go through."""

    async def handle_async_request(self, request: httpcore.Request) -> tuple[httpcore.Response, Callable[[], None]]:
        """Send a request; the second value is to be called once its response is closed."""
        ...

    async def aclose(self) -> None:
        """Close every connection."""
        ...


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


@dataclass(slots=True)
class _OfHost:
    pool: httpcore.AsyncConnectionPool
    busy: int = 0
    used_at: float = field(default_factory=time.monotonic)


class PoolPerHost:
    """A pool of up to `connections` for each host; one that was not used for `idle_seconds` is closed.

    How many requests there are at a time is for the caller to bound. Up to 512 hosts keep connections without using them.
    """

    def __init__(
        self, make: Callable[[int], httpcore.AsyncConnectionPool], connections: int, idle_seconds: float
    ) -> None:
        self._make = make
        self._connections = connections
        self._idle_seconds = idle_seconds
        # In the order of their last use, so that those to be closed stand in front.
        self._hosts: OrderedDict[_Host, _OfHost] = OrderedDict()
        self._closing: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        """Return how many hosts have a pool."""
        return len(self._hosts)

    async def handle_async_request(self, request: httpcore.Request) -> tuple[httpcore.Response, Callable[[], None]]:
        """Send a request; the second value is to be called once its response is closed."""
        host = (request.url.host, request.url.port)
        found = self._hosts.get(host)
        if found is None:
            found = self._hosts[host] = _OfHost(self._make(self._connections))
        self._begin(host, found)
        released = False

        def release() -> None:
            nonlocal released
            if not released:
                released = True
                found.busy -= 1
                found.used_at = time.monotonic()

        self._close_unused()
        try:
            return await found.pool.handle_async_request(request), release
        except BaseException:
            release()
            raise

    def _begin(self, host: _Host, found: _OfHost) -> None:
        found.busy += 1
        found.used_at = time.monotonic()
        self._hosts.move_to_end(host)

    def _close_unused(self) -> None:
        """Close what was not used for a while; whoever sends a request now does not wait for that."""
        for host in self._list_unused():
            closing = asyncio.create_task(self._hosts.pop(host).pool.aclose())
            self._closing.add(closing)
            closing.add_done_callback(self._closed)

    def _closed(self, closing: asyncio.Task[None]) -> None:
        self._closing.discard(closing)
        if not closing.cancelled():
            closing.exception()  # a connection that could not be closed in good order is gone all the same

    def _list_unused(self) -> list[_Host]:
        oldest = time.monotonic() - self._idle_seconds
        unused: list[_Host] = []
        too_many = len(self._hosts) - _MOST_HOSTS
        for host, found in self._hosts.items():
            if found.used_at >= oldest and len(unused) >= too_many:
                break
            if found.busy == 0:
                unused.append(host)
        return unused

    async def aclose(self) -> None:
        """Close every connection."""
        while self._hosts:
            _, found = self._hosts.popitem()
            await found.pool.aclose()
        if self._closing:
            await asyncio.wait(self._closing)
