"""What is too large or never comes, of heads, trailers and bodies: bounded, and never a 500."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from handlers import bodies, heads
from tests.api.answers import paths_of, problem
from tests.world import API_KEY, World

MIB = 2**20


@asynccontextmanager
async def connected(world: World) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection for bytes as they are, for 20 seconds at most."""
    port = int(world.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(20):
            yield reader, writer
    finally:
        writer.close()


async def talk(world: World, *pieces: bytes) -> bytes:
    """Send bytes as they are, and return everything that comes until the service hangs up."""
    async with connected(world) as (reader, writer):
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        return await reader.read()


async def read_answer(reader: asyncio.StreamReader) -> bytes:
    """Return the next answer on a connection that is kept."""
    first = (await reader.readuntil(b"\r\n\r\n")).lower()
    return first + await reader.readexactly(int(first.partition(b"content-length:")[2].split()[0]))


def head(line: str = "GET /v1/jobs", *headers: str) -> bytes:
    lines = [f"{line} HTTP/1.1", "Host: x", "Connection: close", f"Authorization: Bearer {API_KEY}", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def check(answer: bytes, status: int, code: str) -> None:
    """Assert that an answer is this problem."""
    first, _, body = answer.partition(b"\r\n\r\n")
    assert first.startswith(b"HTTP/1.1 %d " % status), first
    assert b"application/problem+json" in first
    document = json.loads(body)
    assert (document["status"], document["code"]) == (status, code)
    assert document["request_id"].encode() in first


@pytest.mark.parametrize("size", [70_000, 200_000, MIB, 8 * MIB])
async def test_a_large_head_is_431_whatever_it_is_large_with(world: World, size: int) -> None:
    for whole in (
        head("GET /v1/jobs", f"X-Large: {'x' * size}"),
        head("GET /v1/jobs", *(f"X-{number}: {'x' * 100}" for number in range(size // 100))),
        head(f"GET /v1/jobs?status={'x' * size}"),
        head(f"GET /{'x' * size}"),
        head("GET /v1/jobs", f"{'x' * size}: 1"),
    ):
        check(await talk(world, whole), 431, "head_too_large")
    assert (await world.client.get("/v1/jobs")).status_code == 200


async def test_a_large_head_in_small_pieces_is_431_too(world: World) -> None:
    pieces = [b"GET /v1/jobs HTTP/1.1\r\n", *(b"X-More: " + b"x" * 1000 + b"\r\n" for _ in range(200))]
    check(await talk(world, *pieces), 431, "head_too_large")


async def test_a_head_just_below_is_read_also_on_a_connection_that_is_kept(world: World) -> None:
    for _ in range(3):
        answer = await world.client.get("/v1/jobs", headers={"X-Large": "x" * (heads.MOST_BYTES - 1000)})
        assert answer.status_code == 200
    body = b"x" * 200_000
    assert (await world.client.post("/v1/jobs", content=body)).status_code == 400, "a body is no head"
    assert (await world.client.get("/v1/jobs")).status_code == 200


async def test_what_is_no_http_is_400(world: World) -> None:
    assert (await talk(world, b"NONSENSE\r\n\r\n")).startswith(b"HTTP/1.1 400 ")


async def test_a_long_query_is_answered_and_so_are_many_parameters(world: World) -> None:
    assert paths_of(await world.client.get("/v1/jobs?status=" + "x" * 60_000)) == {"status"}
    for query in ("&".join("ab"[n % 2] + str(n) + "=1" for n in range(7000)), "&".join(["status=queued"] * 101)):
        answer = await world.client.get(f"/v1/jobs?{query}")
        assert paths_of(answer) == {"query"}
        assert len(answer.content) < 1000
    assert (await world.client.get("/v1/jobs?" + "&".join(f"metadata[{n}]=1" for n in range(100)))).status_code == 200


async def test_a_body_that_does_not_come_is_408(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "_READ_SECONDS", 0.2)
    job = await world.submit("a lighthouse [fault:held]")
    for line in (
        "POST /v1/jobs",
        "PUT /v1/destinations/slow",
        "POST /v1/subscriptions",
        f"POST /v1/jobs/{job['id']}/copy",
    ):
        check(await talk(world, head(line, "Content-Length: 100"), b"{"), 408, "too_slow")
    problem(await world.client.post("/v1/jobs", content=b"{"), 400, "invalid_json")


async def test_a_connection_on_which_nothing_comes_is_closed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "_SECONDS", 0.2)
    assert await talk(world) == b""
    assert await talk(world, b"GET /v1/jobs HTTP/1.1\r\nHost:") == b""


CHUNKED = b"Host: x\r\nTransfer-Encoding: chunked\r\n\r\n"
KEY = f"Authorization: Bearer {API_KEY}\r\n".encode()
ANSWERED = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
UNREAD = b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"


@pytest.mark.parametrize(
    ("begun", "more"),
    [
        (b"GET /livez HTTP/1.1\r\n" + CHUNKED + b"0\r\n", b"A: b\r\n" * 10_000),
        (b"POST /v1/jobs HTTP/1.1\r\n" + CHUNKED + b"0\r\n", b"A: b\r\n" * 10_000),
        (b"POST /v1/jobs HTTP/1.1\r\n" + KEY + CHUNKED + b"1\r\n{\r\n0\r\n", b"A: b\r\n" * 10_000),
        (b"GET /livez HTTP/1.1\r\n" + CHUNKED + b"0\r\nA: ", b"b" * 60_000),
        (b"GET /livez HTTP/1.1\r\n" + CHUNKED + b"1;", b"b" * 60_000),
        (ANSWERED, b"\r\n" * 30_000),
    ],
    ids=["trailers", "trailers, 401", "trailers, in the middle", "one trailer", "a chunk's extension", "empty lines"],
)
async def test_what_is_neither_head_nor_body_is_not_taken_without_end(world: World, begun: bytes, more: bytes) -> None:
    async with connected(world) as (_, writer):
        writer.write(begun)
        with pytest.raises(ConnectionError):
            for _ in range(200):
                writer.write(more)
                await writer.drain()


async def test_a_trailer_is_no_header_of_its_request_nor_of_the_next(world: World) -> None:
    trailers = b"0\r\nX-Request-Id: from-a-trailer\r\n" + KEY + b"\r\n"
    async with connected(world) as (reader, writer):
        for begun in (b"GET /v1/jobs HTTP/1.1\r\n" + CHUNKED + trailers, b"GET /v1/jobs HTTP/1.1\r\nHost: x\r\n\r\n"):
            writer.write(begun)
            answer = await read_answer(reader)
            assert answer.startswith(b"http/1.1 401 ")
            assert b"from-a-trailer" not in answer
        writer.write(b"GET /v1/jobs HTTP/1.1\r\n" + KEY + CHUNKED + trailers)
        answer = await read_answer(reader)
        assert answer.startswith(b"http/1.1 200 ")
        assert b"from-a-trailer" not in answer


@pytest.mark.parametrize(
    ("asked", "more"),
    [(ANSWERED, b"\r\n"), (UNREAD % 1000, b"a"), (b"GET /livez HTTP/1.1\r\n" + CHUNKED, b"1\r\n")],
    ids=["an empty line", "an unread body", "a chunk"],
)
async def test_a_connection_is_closed_when_only_crumbs_come_after_an_answer(
    world: World, monkeypatch: pytest.MonkeyPatch, asked: bytes, more: bytes
) -> None:
    monkeypatch.setattr(heads, "_SECONDS", 0.2)
    async with connected(world) as (reader, writer):
        writer.write(asked)
        await read_answer(reader)
        writer.write(more)
        assert await reader.read() == b""


async def test_a_connection_is_kept_after_a_body_that_nobody_read(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heads, "_SECONDS", 0.5)
    job = await world.submit("a lighthouse [fault:held]")
    waits = f"GET /v1/jobs/{job['id']} HTTP/1.1\r\nHost: x\r\nPrefer: wait=1\r\n".encode() + KEY
    async with connected(world) as (reader, writer):
        for _ in range(2):
            writer.write(UNREAD % (3 * MIB))
            assert (await read_answer(reader)).startswith(b"http/1.1 401 ")
            # The last of the body and the beginning of the next head come in one piece.
            writer.write(b"a" * (3 * MIB) + waits)
            await writer.drain()
            writer.write(b"\r\n")
            assert (await read_answer(reader)).startswith(b"http/1.1 200 "), "it waited for longer than a head may take"


async def test_a_large_body_in_chunks_is_read_and_what_is_sent_behind_it_too(world: World) -> None:
    chunk = b"%x\r\n%s\r\n" % (100_000, b" " * 100_000)
    small = b"1\r\n \r\n" * 100_000
    behind = b"GET /v1/jobs HTTP/1.1\r\nHost: x\r\n" + KEY + b"\r\n"
    async with connected(world) as (reader, writer):
        for body in (chunk * 5, small):
            writer.write(b"POST /v1/jobs HTTP/1.1\r\n" + KEY + CHUNKED + body + b"0\r\n\r\n" + behind)
            assert (await read_answer(reader)).startswith(b"http/1.1 400 ")
            assert (await read_answer(reader)).startswith(b"http/1.1 200 ")
