"""Big bodies wait for memory: not for long, not behind one account that sends slowly, and not for those who have gone."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import httpx
import pytest

from handlers import room
from service.demo.s3server import S3Server
from tests.api.answers import problem
from tests.world import API_KEY, World, job_body, running_world, until

KIB = 1024
BIG = 300 * KIB


@pytest.fixture
async def roomy(database_url: str, s3_server: S3Server, bucket: str) -> AsyncIterator[World]:
    """A world with room for four bodies of a MiB: one whose length is not told counts as that."""
    async with running_world(
        database_url, s3_server, bucket, sandbox=None, GENRELAY_HTTP__MAX_BODY_BYTES=str(1024 * KIB)
    ) as world:
        yield world


@contextlib.asynccontextmanager
async def slow_submits(world: World, count: int, begun: bytes, length: int | None = None) -> AsyncIterator[None]:
    """Begin so many submits of the default account, and send no more of them: with their length, or in chunks."""
    url = urlsplit(world.url)
    told = b"Transfer-Encoding: chunked" if length is None else b"Content-Length: %d" % length
    head = b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n%s\r\n\r\n" % (API_KEY.encode(), told)
    sent = begun if length is not None else b"%x\r\n%s\r\n" % (len(begun), begun)
    writers = []
    before = await under_way(world)
    for _ in range(count):
        _, writer = await asyncio.open_connection(url.hostname, url.port)
        writer.write(head + sent)
        await writer.drain()
        writers.append(writer)
    await until_under_way(world, before + count)
    try:
        yield
    finally:
        for writer in writers:
            writer.transport.abort()


async def under_way(world: World) -> int:
    """Return how many requests of the default account hold a place."""
    account = await world.service.accounts.authenticate(API_KEY)
    assert account is not None
    return world.service.limits.under_way(account)


async def until_under_way(world: World, count: int) -> None:
    """Return once so many requests of the default account hold a place."""

    async def look() -> bool:
        return await under_way(world) == count

    await until(look, 5)


async def chunks(body: bytes) -> AsyncIterator[bytes]:
    """Yield a body in chunks, so that its length is not told."""
    for start in range(0, len(body), 64 * KIB):
        yield body[start : start + 64 * KIB]


async def submit(client: httpx.AsyncClient, size: int) -> httpx.Response:
    """Submit a sound job in chunks, blown up to a size; it is refused for its destination, and nothing is made of it."""
    body = json.dumps(job_body(destination="nowhere")).encode().ljust(size)
    return await client.post("/v1/jobs", content=chunks(body))


async def until_full(world: World) -> None:
    """Return once the default account finds no room for another big body."""

    async def look() -> bool:
        return (await submit(world.client, BIG)).status_code == 503

    await until(look)


async def test_bodies_that_stop_at_once_hold_nothing(roomy: World) -> None:
    async with slow_submits(roomy, 8, b"{"), asyncio.timeout(5):
        assert (await submit(roomy.client, BIG)).status_code == 422
        assert (await submit(roomy.stranger, BIG)).status_code == 422
    await until_under_way(roomy, 0)
    async with slow_submits(roomy, 8, b"{", length=1024 * KIB), asyncio.timeout(5):
        assert (await submit(roomy.client, BIG)).status_code == 422
        assert (await submit(roomy.stranger, 10)).status_code == 422


@pytest.mark.parametrize("length", [None, 1024 * KIB])
async def test_slow_bodies_of_one_account_leave_room_for_others_and_are_not_waited_for_long(
    roomy: World, monkeypatch: pytest.MonkeyPatch, length: int | None
) -> None:
    monkeypatch.setattr(room, "_WAIT_SECONDS", 0.3)
    async with slow_submits(roomy, 4, b" " * BIG, length), asyncio.timeout(20):
        await until_full(roomy)
        refused = await submit(roomy.client, BIG)
        assert "memory" in problem(refused, 503, "unavailable")["detail"]
        assert int(refused.headers["retry-after"]) >= 1
        assert (await submit(roomy.client, 10 * KIB)).status_code == 422, "a small one needs none"
        answers = await asyncio.gather(*(submit(roomy.stranger, BIG) for _ in range(2)))
        assert [answer.status_code for answer in answers] == [422, 422], "another account's"
    await until_under_way(roomy, 0)
    assert (await submit(roomy.client, BIG)).status_code == 422, "what they held is there again"


@pytest.mark.parametrize("length", [None, 1024 * KIB, BIG])
async def test_who_hangs_up_while_waiting_for_room_leaves_its_place(
    roomy: World, monkeypatch: pytest.MonkeyPatch, length: int | None
) -> None:
    monkeypatch.setattr(room, "_WAIT_SECONDS", 0.1)
    async with slow_submits(roomy, 4, b" " * BIG):
        await until_full(roomy)
        monkeypatch.setattr(room, "_WAIT_SECONDS", 3600)
        await until_under_way(roomy, 2)
        async with slow_submits(roomy, 3, b" " * BIG, length):
            await until_under_way(roomy, 5)
        await until_under_way(roomy, 2)


async def test_a_body_whose_turn_comes_is_read_whole(roomy: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async with contextlib.AsyncExitStack() as slow:
        monkeypatch.setattr(room, "_WAIT_SECONDS", 0.1)
        await slow.enter_async_context(slow_submits(roomy, 4, b" " * BIG))
        await until_full(roomy)
        monkeypatch.setattr(room, "_WAIT_SECONDS", 20)
        await until_under_way(roomy, 2)
        waiting = [asyncio.create_task(submit(roomy.client, size)) for size in (BIG, 600 * KIB, 1024 * KIB)]
        await until_under_way(roomy, 5)
        await slow.aclose()
        assert [(await each).status_code for each in waiting] == [422, 422, 422]
