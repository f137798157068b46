"""Sending a provider's `HttpCall`, and knowing afterwards whether it can have run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx

from service.net.streams import StreamBackend
from service.net.transport import PooledTransport
from service.providers.contract import HttpCall, HttpReply

MAX_REPLY_BYTES = 16 * 2**20
# Characters of a key that don't come by chance in a picture's base64; no real key is as short.
_SHORTEST_SECRET = 8


class NotSentError(Exception):
    """Nothing reached the provider: DNS, connect or TLS failed, no connection was free, or the worker came too late."""


class NothingTriedError(NotSentError):
    """Nothing was sent for a reason of our own, which says nothing about the provider: too late, or no connection free."""


class AnswerLostError(Exception):
    """The request went out, and no whole answer came back: nobody can tell whether it ran."""


def provider_client(connections: int = 128) -> httpx.AsyncClient:
    """Return a client for calls to providers: no proxies from the environment, no redirects.

    Idle connections are dropped early: a request on one that the provider has just closed would end as unclear.
    """
    limits = httpx.Limits(max_connections=connections, keepalive_expiry=4)
    transport = PooledTransport(lambda _scheme: StreamBackend(), limits=limits)
    return httpx.AsyncClient(transport=transport, trust_env=False, follow_redirects=False)


class _Watch:
    """Sees when the request's first byte leaves, and stops it when that is too late."""

    def __init__(self, not_after: float | None, clock: Callable[[], float]) -> None:
        self.sent = False
        self._not_after = not_after
        self._clock = clock

    async def __call__(self, event: str, _info: dict[str, Any]) -> None:
        if event.endswith("send_request_headers.started"):
            if self._not_after is not None and self._clock() > self._not_after:
                raise NothingTriedError("too late after the committed intent")
            self.sent = True


async def send(
    client: httpx.AsyncClient,
    call: HttpCall,
    *,
    timeout: float,
    not_after: float | None = None,
    max_bytes: int = MAX_REPLY_BYTES,
    secret: str = "",
    clock: Callable[[], float] = time.monotonic,
) -> HttpReply:
    """Send a call and read its answer.

    timeout: seconds for the whole of it. not_after: on `clock`; later nothing is sent. max_bytes: of the answer. secret: our
    key, which is taken out of the answer's body should the provider repeat it, unless it is too short to be one.
    Raises NotSentError or AnswerLostError; their texts name the kind of trouble and neither URL nor headers.
    """
    watch = _Watch(not_after, clock)
    try:
        request = client.build_request(
            call.method,
            call.url,
            headers=dict(call.headers),
            content=call.body,
            timeout=httpx.Timeout(timeout, connect=min(timeout, 10.0)),
            extensions={"trace": watch},
        )
        # A time-out of our own around it all: httpx's starts anew with every byte that comes.
        async with asyncio.timeout(timeout):
            reply = await _whole_reply(client, request, max_bytes)
    except httpx.PoolTimeout as error:
        raise NothingTriedError(type(error).__name__) from None
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise (AnswerLostError if watch.sent else NotSentError)(type(error).__name__) from None
    return (
        replace(reply, body=reply.body.replace(secret.encode(), b"[key]")) if len(secret) >= _SHORTEST_SECRET else reply
    )


async def _whole_reply(client: httpx.AsyncClient, request: httpx.Request, max_bytes: int) -> HttpReply:
    response = await client.send(request, stream=True)
    try:
        body = bytearray()
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > max_bytes:
                raise httpx.ReadError("the answer is too large")
    finally:
        await response.aclose()
    return HttpReply(response.status_code, {k.lower(): v for k, v in response.headers.items()}, bytes(body))
