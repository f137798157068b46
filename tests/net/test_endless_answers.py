"""Answers that go on and on cost a bounded time, and others get their turn meanwhile."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_network

import httpcore
import httpx
import pytest

from service.net import GuardPolicy, guarded_client
from service.net.calls import AnswerLostError, provider_client, send
from service.net.streams import Stream, StreamBackend
from service.providers.contract import HttpCall
from tests.listening import Answer, answering, listening, ok
from tests.net.conftest import HOST, Tls

HERE = GuardPolicy((ip_network("127.0.0.0/8"),))
INTERIM = b"HTTP/1.1 100 C\r\n\r\n"
HINT = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n"
SECONDS = 20


def endless(piece: bytes, *, start: bytes = b"") -> Answer:
    """Say the same again and again until the client hangs up."""

    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(start)
        while True:
            writer.write(piece * 1000)
            await writer.drain()

    return answer


@asynccontextmanager
async def server(answer: Answer) -> AsyncIterator[str]:
    async with listening(answer) as listener:
        yield f"http://127.0.0.1:{listener.port}/"


class Turns:
    """Counts how often others got their turn."""

    count = 0

    async def run(self) -> None:
        while True:
            await asyncio.sleep(0)
            self.count += 1


@pytest.fixture
async def turns() -> AsyncIterator[Turns]:
    counted = Turns()
    counting = asyncio.create_task(counted.run())
    yield counted
    counting.cancel()


@pytest.mark.parametrize(
    "answer",
    [
        endless(INTERIM),
        endless(b"Link: </style.css>\r\n", start=b"HTTP/1.1 103 Early Hints\r\n"),
        endless(b"X-More: x\r\n", start=b"HTTP/1.1 200 OK\r\n"),
        endless(b"x", start=b"HTTP/1.1 200 "),
        answering(INTERIM * 200_000, ok(b"at last")),
    ],
    ids=["interim answers", "headers of an interim answer", "headers", "a line", "200,000 interim answers"],
)
async def test_a_head_that_goes_on_and_on_is_given_up(answer: Answer) -> None:
    async with server(answer) as url, guarded_client(HERE) as guarded, provider_client() as provider:
        async with asyncio.timeout(SECONDS):
            with pytest.raises(httpx.RemoteProtocolError, match="head of the answer is too large"):
                await guarded.get(url)
            with pytest.raises(AnswerLostError):
                await send(provider, HttpCall("GET", url, {}), timeout=SECONDS)


async def test_interim_answers_are_skipped() -> None:
    async with server(answering(INTERIM * 3000 + ok(b"hello"))) as url, guarded_client(HERE) as client:
        assert (await client.get(url)).content == b"hello"


async def test_a_head_is_read_in_small_pieces_between_which_others_get_their_turn(turns: Turns) -> None:
    async with listening(endless(INTERIM)) as listener:
        stream = await StreamBackend().connect_tcp("127.0.0.1", listener.port)
        assert isinstance(stream, Stream)
        await stream.write(b"GET / HTTP/1.1\r\n\r\n")
        pieces, seen = [], []
        with pytest.raises(httpcore.RemoteProtocolError):
            while True:
                pieces.append(len(await stream.read(2**16)))
                seen.append(turns.count)
        assert max(pieces) <= 2**12
        assert len(set(seen)) == len(seen)
        assert 2**16 <= sum(pieces) < 2**16 + 2**12
        stream.end_head()
        assert len(await stream.read(2**16)) > 2**12
        await stream.aclose()


async def test_a_body_in_tiny_chunks_leaves_others_their_turn(turns: Turns) -> None:
    body = b"1\r\nx\r\n" * 10_000 + b"0\r\n\r\n"
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    async with (
        server(answering(head + body)) as url,
        guarded_client(HERE) as client,
        client.stream("GET", url) as answer,
    ):
        seen = Counter([turns.count async for _ in answer.aiter_raw()])
    assert seen.total() == 10_000
    assert max(seen.values()) <= 100


async def test_a_body_may_be_larger_than_a_head_and_tls_changes_nothing(tls: Tls) -> None:
    body = b"x" * 2**20
    answer = HINT * 10 + ok(body, *(f"X-{number}: {'x' * 1000}" for number in range(30)))

    async def resolve(_host: str, _port: int) -> list[str]:
        return ["127.0.0.1"]

    for context in (None, tls.server):
        async with (
            listening(answering(answer), tls=context) as listener,
            guarded_client(HERE, resolver=resolve, ssl_context=tls.client) as client,
        ):
            scheme = "http" if context is None else "https"
            assert (await client.get(f"{scheme}://{HOST}:{listener.port}/")).content == body


async def test_each_answer_of_a_connection_has_a_head_of_its_own() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Long: " + b"x" * 5000 + b"\r\n\r\nok"

    async def again(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(answer)

    async with listening(again) as listener, guarded_client(HERE) as client:
        for _ in range(20):
            assert (await client.get(f"http://127.0.0.1:{listener.port}/")).content == b"ok"
    assert listener.connections == 1
