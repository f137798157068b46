"""What a Service of Kubernetes does: new connections go to processes that are ready, established ones stay where they are."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import httpx

from tests.chaos.proxy import Proxy
from tests.world import until

_LOOK_SECONDS = 0.1


class Balancer(Proxy):
    """Lends each new connection to the next ready process; `/readyz` is asked ten times a second."""

    def __init__(self) -> None:
        super().__init__(self._to_next)
        self._ready: dict[str, bool] = {}
        self._turn = 0
        self.turned_away = 0

    @property
    def known(self) -> set[str]:
        """Return whom it knows, ready or not."""
        return set(self._ready)

    async def add(self, url: str) -> None:
        """Send it connections from now on; returns once it is known to be ready."""
        self._ready[url] = False
        await until(lambda: _is(self._ready[url]))

    def remove(self, url: str) -> None:
        """Send it no connections any more."""
        self._ready.pop(url)

    async def forgets(self, url: str) -> None:
        """Return once it is known not to be ready."""
        await until(lambda: _is(not self._ready[url]))
        self.remove(url)

    async def watch(self) -> None:
        """Ask each process again and again whether it is ready."""
        async with httpx.AsyncClient(trust_env=False, timeout=5) as http:
            while True:
                for url in list(self._ready):
                    ready = await _is_ready(http, url)
                    if url in self._ready:
                        self._ready[url] = ready
                await asyncio.sleep(_LOOK_SECONDS)

    async def _to_next(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        ready = [url for url, is_ready in self._ready.items() if is_ready]
        if not ready:
            self.turned_away += 1
            raise ConnectionRefusedError
        self._turn += 1
        where = urlsplit(ready[self._turn % len(ready)])
        return await asyncio.open_connection(where.hostname, where.port)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client; one that nobody can serve is reset."""
        with contextlib.suppress(OSError):
            await super().handle(reader, writer)

    async def pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client that is let through; what its process has said gets to it before its connection ends."""
        await super().pass_on(reader, writer)
        with contextlib.suppress(OSError):
            writer.close()
            await writer.wait_closed()


async def _is_ready(http: httpx.AsyncClient, url: str) -> bool:
    # A connection of its own each time, as a kubelet's probe has it.
    with contextlib.suppress(httpx.TransportError):
        answer = await http.get(f"{url}/readyz", headers={"Connection": "close"})
        return answer.status_code == 200
    return False


async def _is(so: bool) -> bool:
    return so


@contextlib.asynccontextmanager
async def balancing(port: int) -> AsyncIterator[Balancer]:
    """Run a balancer on a port as long as the block."""
    balancer = Balancer()
    server = await asyncio.start_server(balancer.handle, "127.0.0.1", port)
    watching = asyncio.create_task(balancer.watch())
    try:
        yield balancer
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        server.close()
        await balancer.close()
