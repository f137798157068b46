"""Delivering to a URL: one POST, as Standard Webhooks has it, with everything bounded.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import asyncio
import errno
import json
import time
from collections.abc import Iterator, Mapping
from typing import Protocol

import httpx
import structlog

from config.settings import DeliverySettings
from service import tracing
from service.crypto import Keyring, UndecryptableError
from service.db.pool import DATABASE_AWAY
from service.events.letter import Letter, Reply
from service.events.schedule import SLOW_DOWN, read_retry_after
from service.events.subscription import Subscription
from service.net import GuardPolicy, NameNotFound, Refused, Resolver, ResolverAway, guarded_client
from service.net.resolver import ask_dns

log = structlog.get_logger()

CLOUD_EVENT = "application/cloudevents+json"
# A connection that its server may be about to close is not used again: what is lost on it would count as a failure.
_IDLE_SECONDS = 4
_REST_SECONDS = 2.0  # for the rest of an answer whose status is known
# Errors of the system that say that something is wrong here, not there.
_OURS = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.ENETUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL}
)


class Signer(Protocol):
    """Signs what is sent to one subscription."""

    def headers(self, event_id: str, timestamp: int, body: bytes) -> dict[str, str]:
        """Return `webhook-id`, `webhook-timestamp` and `webhook-signature`."""
        ...


class Signers(Protocol):
    """Knows who signs for whom."""

    async def of(self, subscription: Subscription) -> Signer:
        """Return the signer of a subscription; raises UndecryptableError."""
        ...


def delivery_client(
    policy: GuardPolicy, settings: DeliverySettings, *, at_once: int | None = None, resolver: Resolver = ask_dns
) -> httpx.AsyncClient:
    """Return the client of deliveries: guarded, and with a connection for each that is under way.

    at_once: how many there are at a time, if not as many as the settings say.
    """
    limits = httpx.Limits(max_connections=at_once or settings.concurrency, keepalive_expiry=_IDLE_SECONDS)
    seconds = settings.timeout_seconds
    timeout = httpx.Timeout(seconds, pool=seconds / 2)
    return guarded_client(policy, limits=limits, timeout=timeout, resolver=resolver, many_hosts=True)


class WebhookChannel:
    """Posts letters to the URLs of subscriptions. client: of `delivery_client`."""

    def __init__(
        self, client: httpx.AsyncClient, signers: Signers, keyring: Keyring, settings: DeliverySettings
    ) -> None:
        self._client = client
        self._signers = signers
        self._keyring = keyring
        self._settings = settings

    async def send(self, subscription: Subscription, letter: Letter) -> Reply:
        """Try once; never raises for what an endpoint does, nor for what is wrong here."""
        assert subscription.url is not None
        try:
            headers = await self._headers(subscription, letter)
            async with asyncio.timeout(self._settings.timeout_seconds):
                return await self._post(subscription.url, headers, letter.body)
        except TimeoutError:
            return Reply("failed", error=f"no answer within {self._settings.timeout_seconds:g} s")
        except Exception as error:  # one delivery's trouble must not become another's
            return read_failure(error)

    async def _headers(self, subscription: Subscription, letter: Letter) -> dict[str, str]:
        own: Mapping[str, str] = {}
        if subscription.headers is not None:
            own = json.loads(self._keyring.decrypt(subscription.headers))
        try:
            signer = await self._signers.of(subscription)
        except TimeoutError as error:  # of the database, not of the endpoint
            raise _AwayError from error
        signed = signer.headers(letter.event_id, int(time.time()), letter.body)
        traced = {} if letter.traceparent is None else {tracing.HEADER: letter.traceparent}
        # One that was set before the name was taken is the customer's own.
        if any(name.lower() == tracing.HEADER for name in own):
            traced = {}
        return {"user-agent": "genrelay", **own, "content-type": CLOUD_EVENT, **letter.headers, **traced, **signed}

    async def _post(self, url: str, headers: Mapping[str, str], body: bytes) -> Reply:
        async with self._client.stream("POST", url, content=body, headers=headers) as response:
            start = await self._read_start(response)
            asked = response.headers.get_list("retry-after")
            longest = self._settings.max_retry_after_seconds
            return read_answer(response.status_code, start, read_retry_after(asked, response.status_code, longest))

    async def _read_start(self, response: httpx.Response) -> bytes:
        """Return the beginning of an answer's body; what comes after it, or too slowly, is not read."""
        most, start = self._settings.response_bytes, bytearray()
        try:
            async with asyncio.timeout(_REST_SECONDS):
                async for chunk in response.aiter_raw():
                    start += chunk[: most - len(start)]
                    if len(start) >= most:
                        break
        except (TimeoutError, httpx.HTTPError):
            pass  # the status has come, and it is the answer
        return bytes(start)


class _AwayError(Exception):
    """The database is away."""


def read_answer(status: int, start: bytes, retry_after: float | None) -> Reply:
    """Read what an endpoint answered: a status of 2xx alone is success, and redirects are not followed."""
    if 200 <= status < 300:
        return Reply("delivered", status=status, response=start)
    said = f"answered {status}" + (", and redirects are not followed" if 300 <= status < 400 else "")
    return Reply(
        "failed",
        status=status,
        error=said,
        response=start,
        retry_after=retry_after,
        gone=status == 410,
        slow_down=status in SLOW_DOWN,
    )


def read_failure(error: Exception) -> Reply:
    """Read why there was no answer, and whose fault that is; nothing of the URL but its host is told."""
    match error:
        case Refused():
            return Reply("failed", error=f"refused by the guard: {error}", final=True)
        case UnicodeError() | httpx.InvalidURL():  # httpx reads the URL before the guard does
            return Reply("failed", error="its URL or a header of its own can't be sent", final=True)
        case UndecryptableError():
            return Reply("ours", error="our secrets for it can't be decrypted")
        case ResolverAway():
            return Reply("ours", error="DNS could not be asked")
        case httpx.PoolTimeout():
            return Reply("ours", error="no connection was free here")
    number = _own_errno(error)
    if number is not None:
        return Reply("ours", error=f"the network failed here: {errno.errorcode[number]}")
    if isinstance(error, httpx.HTTPError):
        return Reply("failed", error=_explain(error))
    if isinstance(error, (_AwayError, *DATABASE_AWAY)):
        return Reply("ours", error="the database is away")
    log.error("delivery.raised", reason=type(error).__name__, exc_info=error)
    return Reply("ours", error=f"something went wrong here ({type(error).__name__})")


def _explain(error: httpx.HTTPError) -> str:
    match error:
        case NameNotFound():
            return str(error)
        case httpx.ConnectTimeout():
            return "no connection in time"
        case httpx.TimeoutException():
            return "no answer in time"
        case httpx.ConnectError():
            return "no connection could be made, or its certificate is not good"
        case _:
            return f"no whole answer came back ({type(error).__name__})"


def _own_errno(error: BaseException) -> int | None:
    """Return the system's error number behind an error, if it is one that is ours."""
    for each in _chain(error):
        if isinstance(each, OSError) and each.errno in _OURS:
            return each.errno
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
