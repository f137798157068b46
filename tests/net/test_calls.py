"""Calls to providers: bounded as a whole, and clear about what may have run."""

from __future__ import annotations

import asyncio
import time

import pytest

from service.net.calls import AnswerLostError, NotSentError, provider_client, send
from service.providers.contract import HttpCall
from tests.world import free_port


async def test_an_answer_that_trickles_for_ever_is_given_up_as_a_whole() -> None:
    never: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
        loop = asyncio.get_running_loop()
        end = loop.time() + 10
        while loop.time() < end and not writer.is_closing():
            writer.write(b"x")
            try:
                await asyncio.wait_for(asyncio.shield(never), 0.02)
            except TimeoutError:
                continue

    server = await asyncio.start_server(trickle, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, provider_client() as client:
        began = time.monotonic()
        with pytest.raises(AnswerLostError):
            await send(client, HttpCall("GET", f"http://127.0.0.1:{port}/", {}), timeout=0.3)
        assert time.monotonic() - began < 5
    never.cancel()


async def test_a_refused_connection_is_known_not_to_have_been_sent() -> None:
    async with provider_client() as client:
        with pytest.raises(NotSentError):
            await send(client, HttpCall("POST", f"http://127.0.0.1:{free_port()}/", {}, b"{}"), timeout=2)


async def test_a_connection_that_is_cut_after_the_request_is_unclear() -> None:
    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()

    server = await asyncio.start_server(cut, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, provider_client() as client:
        with pytest.raises(AnswerLostError):
            await send(client, HttpCall("POST", f"http://127.0.0.1:{port}/", {}, b"{}"), timeout=2)


async def test_nothing_leaves_once_its_window_is_over() -> None:
    arrived: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrived.set_result(await reader.read(1))
        writer.close()

    server = await asyncio.start_server(note, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        async with provider_client() as client:
            with pytest.raises(NotSentError):
                call = HttpCall("POST", f"http://127.0.0.1:{port}/", {}, b"{}")
                await send(client, call, timeout=2, not_after=10.0, clock=lambda: 10.1)
        assert await arrived == b"", "the connection was opened, and closed without a byte"
