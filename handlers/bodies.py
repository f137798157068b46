"""Reading what a client sent: bounded, off the loop when it is big, and with an error that says what is wrong."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, NoReturn

from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope

from handlers.problems import Problem

_BIG = 256 * 1024  # bytes
_DRAIN_BYTES = 128 * 2**20
_DRAIN_SECONDS = 5.0
_READ_SECONDS = 120


async def read_body(scope: Scope, receive: Receive, limit: int) -> bytes:
    """Return the whole body.

    Raises Problem 413 as soon as it is known to be longer than `limit` bytes, and 408 when it takes too long.
    """
    async with _in_time():
        return await _read(scope, receive, limit)


@asynccontextmanager
async def _in_time() -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(_READ_SECONDS):
            yield
    except TimeoutError:
        detail = f"the body did not arrive within {_READ_SECONDS} s"
        raise Problem(408, "too_slow", detail, headers={"Connection": "close"}) from None


class Body:
    """A request's body that is read in two goes: its beginning, and the whole of it once there is room."""

    def __init__(self, scope: Scope, receive: Receive, limit: int) -> None:
        self._scope, self._next, self._limit = scope, receive, limit
        self._begun = bytearray()
        self._whole = False

    async def begin(self) -> int:
        """Read 256 KB; returns how long the body may be if there are more, in bytes, and 0 if there are not.

        Raises Problem 408. What is too long anyway counts as 0: `read` refuses it.
        """
        told = told_length(self._scope)
        if told > self._limit:
            return 0
        async with _in_time():
            while not self._whole and len(self._begun) <= min(_BIG, self._limit):
                await self._receive()
        if not _BIG < len(self._begun) <= self._limit:
            return 0
        return len(self._begun) if self._whole else told or self._limit

    async def watch(self) -> Message:
        """Return what comes next: after the body, that the client has hung up. Reads another 256 KB at most before `read`.

        Raises ClientDisconnect when the client hangs up within its body.
        """
        if not self._whole and len(self._begun) > 2 * _BIG:
            await asyncio.Event().wait()
        return await self._receive()

    async def read(self) -> bytes:
        """Return the whole body, as `read_body` does."""
        return await read_body(self._scope, self._again, self._limit)

    async def _receive(self) -> Message:
        message = await self._next()
        if message["type"] == "http.request":
            self._begun += message.get("body", b"")
            self._whole = not message.get("more_body")
        elif not self._whole:
            raise ClientDisconnect
        return message

    async def _again(self) -> Message:
        if not self._begun and not self._whole:
            return await self._next()
        begun, self._begun = bytes(self._begun), bytearray()
        whole, self._whole = self._whole, False
        return {"type": "http.request", "body": begun, "more_body": not whole}


async def _read(scope: Scope, receive: Receive, limit: int) -> bytes:
    if told_length(scope) > limit:
        await _refuse(scope, receive, limit)
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body"):
        body: bytes = message.get("body", b"")
        if len(body) > limit:
            await _refuse(scope, receive, limit, more=False)
        return body
    parts = bytearray()
    while message["type"] == "http.request":
        parts += message.get("body", b"")
        if len(parts) > limit:
            await _refuse(scope, receive, limit, more=message.get("more_body", False))
        if not message.get("more_body"):
            return bytes(parts)
        message = await receive()
    raise ClientDisconnect


def told_length(scope: Scope) -> int:
    """Return the Content-Length, 0 without one."""
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value[:18])
    return 0


async def _refuse(scope: Scope, receive: Receive, limit: int, *, more: bool = True) -> NoReturn:
    """Read on for a while before refusing: a client that is still sending when we hang up never sees why."""
    if more and not any(name == b"expect" for name, _ in scope["headers"]):  # who asks first has sent nothing yet
        with suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_SECONDS):
                await _drain(receive)
    raise Problem(413, "body_too_large", f"the body is larger than {limit} bytes", headers={"Connection": "close"})


async def _drain(receive: Receive) -> None:
    left = _DRAIN_BYTES
    while left > 0:
        message = await receive()
        left -= len(message.get("body", b""))
        if not message.get("more_body"):
            return


async def read_json(body: bytes) -> Any:
    """Parse a JSON document; raises Problem 400."""
    return await asyncio.to_thread(_parse, body) if len(body) > _BIG else _parse(body)


def _parse(body: bytes) -> Any:
    try:
        return json.loads(body.decode("utf-8"), object_pairs_hook=_object)
    except UnicodeDecodeError as error:
        raise Problem(400, "invalid_json", f"the body is not UTF-8 (byte {error.start})") from None
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise Problem(400, "invalid_json", f"the body is not JSON ({place}: {error.msg})") from None
    except RecursionError:
        raise Problem(400, "invalid_json", "the body is nested too deeply") from None
    except ValueError as error:
        raise Problem(400, "invalid_json", f"the body is not JSON ({error})"[:200]) from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("an object names a field twice")
    return made
