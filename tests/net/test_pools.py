"""Each host keeps connections of its own, and gives them up when it is not used."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from ipaddress import ip_network
from typing import TYPE_CHECKING

import httpx

from service.net import GuardPolicy, guarded_client
from service.net.pools import PoolPerHost
from service.net.transport import GuardedTransport
from tests.serving import serving
from tests.world import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import Receive, Scope, Send

HERE = GuardPolicy((ip_network("127.0.0.0/8"),))


@asynccontextmanager
async def client_of_many(idle: float = 30) -> AsyncIterator[tuple[httpx.AsyncClient, PoolPerHost]]:
    """Lend a client with a pool per host, and the pool of plain http."""
    limits = httpx.Limits(max_connections=4, keepalive_expiry=idle)
    async with guarded_client(HERE, limits=limits, many_hosts=True) as client:
        transport = client._transport  # what is counted here has no public name in httpx
        assert isinstance(transport, GuardedTransport)
        pool = transport._pools["http"]
        assert isinstance(pool, PoolPerHost)
        yield client, pool


@asynccontextmanager
async def host() -> AsyncIterator[tuple[str, set[int]]]:
    """Serve, and lend the address and the ports that its clients came from: one per connection."""
    ports: set[int] = set()

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        ports.add(scope["client"][1])
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})

    async with serving(app) as url:
        yield url, ports


async def test_more_hosts_than_connections_keep_theirs() -> None:
    async with AsyncExitStack() as stack:
        hosts = [await stack.enter_async_context(host()) for _ in range(10)]
        client, pool = await stack.enter_async_context(client_of_many())
        for _ in range(3):
            for url, _ in hosts:
                assert (await client.get(url)).is_success
        assert len(pool) == 10
        assert [len(ports) for _, ports in hosts] == [1] * 10


async def test_a_host_that_is_not_used_is_forgotten() -> None:
    async with host() as (first, _), host() as (second, _), client_of_many(idle=0.05) as (client, pool):
        assert (await client.get(first)).is_success
        assert len(pool) == 1

        async def only_the_second_is_left() -> bool:
            assert (await client.get(second)).is_success
            return len(pool) == 1

        await until(only_the_second_is_left)
