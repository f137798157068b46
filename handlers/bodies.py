"""Reading what a client sent: bounded, off the loop when it is big, and with an error that says what is wrong."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from handlers.problems import Problem

_BIG = 256 * 1024  # bytes


async def read_body(scope: Scope, receive: Receive, limit: int) -> bytes:
    """Return the whole body; raises Problem 413 as soon as it is known to be longer than `limit` bytes."""
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit() and int(value) > limit:
            raise _too_large(limit)
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body"):
        body: bytes = message.get("body", b"")
        if len(body) > limit:
            raise _too_large(limit)
        return body
    parts = bytearray()
    while message["type"] == "http.request":
        parts += message.get("body", b"")
        if len(parts) > limit:
            raise _too_large(limit)
        if not message.get("more_body"):
            return bytes(parts)
        message = await receive()
    raise ClientDisconnect


def _too_large(limit: int) -> Problem:
    return Problem(413, "body_too_large", f"the body is larger than {limit} bytes", headers={"Connection": "close"})


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
