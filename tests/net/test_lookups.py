"""Looking up what customers name: what hangs holds up nobody else."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from service.net import NameNotFound, ResolverAway
from service.net.lookups import Lookups


class NameServer:
    """Answers each name with its own address, but for those that hang until they are let go, and those that raise."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.released = threading.Event()

    def ask(self, host: str, port: int) -> list[Any]:
        """Answer as socket.getaddrinfo does."""
        self.asked.append(host)
        if host.startswith("hangs"):
            assert self.released.wait(20)
        if host == "nobody":
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        if host == "later":
            raise socket.gaierror(socket.EAI_AGAIN, "again")
        return [(0, 0, 0, "", ("10.0.0.1", port)), (0, 0, 1, "", ("10.0.0.1", port)), (0, 0, 0, "", ("10.0.0.2", port))]


@pytest.fixture
def server() -> Iterator[NameServer]:
    """A name server, whose threads are let go at the end."""
    running = NameServer()
    yield running
    running.released.set()


async def test_addresses_come_once_each_and_in_order(server: NameServer) -> None:
    assert await Lookups(ask=server.ask).find("one", 443) == ["10.0.0.1", "10.0.0.2"]


async def test_who_is_to_blame_is_told_apart(server: NameServer) -> None:
    lookups = Lookups(ask=server.ask)
    with pytest.raises(NameNotFound) as unknown:
        await lookups.find("nobody", 443)
    assert not isinstance(unknown.value, ResolverAway)
    with pytest.raises(ResolverAway):
        await lookups.find("later", 443)


async def test_a_host_that_hangs_takes_one_thread_however_many_ask_for_it(server: NameServer) -> None:
    lookups = Lookups(threads=2, seconds=0.2, ask=server.ask)
    waiting = [asyncio.create_task(lookups.find("hangs", 443)) for _ in range(50)]
    async with asyncio.timeout(10):
        assert await lookups.find("one", 443)
        answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(answer) for answer in answers} == {NameNotFound}
    assert server.asked.count("hangs") == 1


async def test_one_that_found_no_thread_is_not_blamed_on_its_name(server: NameServer) -> None:
    lookups = Lookups(threads=1, seconds=0.2, ask=server.ask)
    first, second = await asyncio.gather(lookups.find("hangs", 443), lookups.find("one", 443), return_exceptions=True)
    assert type(first) is NameNotFound
    assert type(second) is ResolverAway


async def test_asyncios_own_threads_stay_free_while_everything_hangs(server: NameServer) -> None:
    lookups = Lookups(threads=4, seconds=30, ask=server.ask)
    waiting = [asyncio.create_task(lookups.find(f"hangs-{number}", 443)) for number in range(200)]
    async with asyncio.timeout(10):
        assert await asyncio.to_thread(lambda: 7) == 7
        assert await asyncio.get_running_loop().getaddrinfo("127.0.0.1", 80)
    server.released.set()
    assert len(await asyncio.gather(*waiting)) == 200


async def test_one_who_gives_up_does_not_spoil_it_for_the_others(server: NameServer) -> None:
    lookups = Lookups(ask=server.ask)
    first, second = (asyncio.create_task(lookups.find("hangs", 443)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    server.released.set()
    assert await second == ["10.0.0.1", "10.0.0.2"]
    assert await lookups.find("hangs", 443), "it is asked for anew"
    assert server.asked == ["hangs", "hangs"]
