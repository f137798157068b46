"""Request lines and headers that are too large, and bodies that never come: bounded, and never a 500."""

from __future__ import annotations

import asyncio
import json

import pytest

from handlers import bodies, heads
from tests.api.answers import paths_of, problem
from tests.world import API_KEY, World

MIB = 2**20


async def talk(world: World, *pieces: bytes) -> bytes:
    """Send bytes as they are, and return everything that comes until the service hangs up."""
    port = int(world.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(20):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            return await reader.read()
    finally:
        writer.close()


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
