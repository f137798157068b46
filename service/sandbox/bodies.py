"""Reading the bodies of requests: JSON objects up to a size, big ones in a thread."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

from anyio import to_thread
from starlette.requests import Request

Read = TypeVar("Read")

MAX_BODY_BYTES = 96 * 1024 * 1024  # an image and its mask, 30 MB each, in base64
_SMALL_BODY_BYTES = 64 * 1024  # up to here reading a body costs less than a thread


class BadBody(ValueError):  # noqa: N818 - what came, not what went wrong here
    """A body that is not a JSON object, or far too large."""


async def read_body(request: Request, read: Callable[[dict[str, Any]], Read]) -> Read:
    """Return what `read` makes of the body; raises BadBody, and whatever `read` raises."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise BadBody("the request body is too large")
    if len(body) <= _SMALL_BODY_BYTES:
        return read(parse_object(bytes(body)))
    return await to_thread.run_sync(lambda: read(parse_object(bytes(body))))


def parse_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object that a body holds; raises BadBody."""
    try:
        whole = json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise BadBody("the request body is not JSON") from error
    if not isinstance(whole, dict):
        raise BadBody("the request body is not a JSON object")
    return whole


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
