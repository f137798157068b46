"""Calls to providers: bounded as a whole, and clear about what may have run."""

from __future__ import annotations

import asyncio
import time

import pytest

from service.net.calls import AnswerLostError, NotSentError, provider_client, send
from service.providers.contract import HttpCall
from tests.listening import answering, listening, ok
from tests.world import free_port


async def test_an_answer_that_trickles_for_ever_is_given_up_as_a_whole() -> None:
    gone = asyncio.Event()

    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
        hung_up = asyncio.ensure_future(reader.read())
        while not hung_up.done():
            writer.write(b"x")
            await asyncio.wait([hung_up], timeout=0.02)
        gone.set()

    async with listening(trickle) as listener:
        began = time.monotonic()
        async with provider_client() as client:
            with pytest.raises(AnswerLostError):
                await send(client, HttpCall("GET", f"http://127.0.0.1:{listener.port}/", {}), timeout=0.3)
        assert time.monotonic() - began < 10
        await gone.wait()


async def test_a_refused_connection_is_known_not_to_have_been_sent() -> None:
    async with provider_client() as client:
        with pytest.raises(NotSentError):
            await send(client, HttpCall("POST", f"http://127.0.0.1:{free_port()}/", {}, b"{}"), timeout=2)


async def test_a_connection_that_is_closed_without_an_answer_is_unclear() -> None:
    async with listening(answering()) as listener, provider_client() as client:
        with pytest.raises(AnswerLostError):
            await send(client, HttpCall("POST", f"http://127.0.0.1:{listener.port}/", {}, b"{}"), timeout=2)
    assert listener.connections == 1


async def test_nothing_leaves_once_its_window_is_over() -> None:
    async with listening(answering(ok(b"{}"))) as listener, provider_client() as client:
        with pytest.raises(NotSentError):
            call = HttpCall("POST", f"http://127.0.0.1:{listener.port}/", {}, b"{}")
            await send(client, call, timeout=2, not_after=10.0, clock=lambda: 10.1)
    assert listener.requests == []


async def test_within_its_window_a_call_is_sent() -> None:
    async with listening(answering(ok(b"{}"))) as listener:
        async with provider_client() as client:
            call = HttpCall("POST", f"http://127.0.0.1:{listener.port}/", {}, b"{}")
            reply = await send(client, call, timeout=2, not_after=10.0, clock=lambda: 9.9)
        assert (reply.status, reply.body) == (200, b"{}")
    assert len(listener.requests) == 1


SECRET = "sk-the-operators-key"


async def _told(answer: bytes, secret: str) -> str:
    """Return what is left of an answer's body."""
    async with listening(answering(ok(answer))) as listener, provider_client() as client:
        call = HttpCall("POST", f"http://127.0.0.1:{listener.port}/", {}, b"{}")
        return (await send(client, call, timeout=2, secret=secret)).body.decode()


async def test_our_key_is_taken_out_of_an_answer_wherever_it_stands() -> None:
    quoting = f'{{"message": "no such key: {SECRET}", "meta": {{"key": "{SECRET}", "keys": ["{SECRET}{SECRET}"]}}}}'
    told = '{"message": "no such key: [key]", "meta": {"key": "[key]", "keys": ["[key][key]"]}}'
    assert await _told(quoting.encode(), secret=SECRET) == told


async def test_an_answer_without_our_key_stays_as_it_came() -> None:
    answer = '{"message": "no such key: sk-the-operators", "shown": "…"}'
    assert await _told(answer.encode(), secret=SECRET) == answer
    assert await _told(answer.encode(), secret="") == answer


async def test_a_key_that_is_too_short_to_be_one_does_not_spoil_a_picture_that_holds_its_letters() -> None:
    """Three letters come in every third picture's base64."""
    async with provider_client() as client:
        for secret, came in (("any", b"R0lGODany+d"), ("R0lGODany", b"[key]+d")):
            async with listening(answering(ok(b"R0lGODany+d"))) as listener:
                call = HttpCall("GET", f"http://127.0.0.1:{listener.port}/", {})
                assert (await send(client, call, timeout=5, secret=secret)).body == came
