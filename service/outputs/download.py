"""Fetches a provider's file through the guard: capped, digested while it is read, about once its size in memory."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

import httpx

from service.net import GuardPolicy, Refused, check_url
from service.outputs.errors import OutputRefused, SourceGone, SourceUnavailable, hint_for_refusal
from service.outputs.memory import MemoryBudget

DEFAULT_SECONDS = 300.0
# Too early, too often, or took too long: of all 4xx these alone may be better later.
_PASSING = frozenset({408, 425, 429})


@dataclass(frozen=True, slots=True)
class Downloaded:
    """A whole file. sha256: 32 raw bytes. claimed_type: what the server's `Content-Type` says, only a claim."""

    body: bytearray = field(repr=False)
    sha256: bytes
    claimed_type: str | None


@asynccontextmanager
async def download(
    client: httpx.AsyncClient,
    url: str,
    *,
    policy: GuardPolicy,
    hosts: Sequence[str],
    max_bytes: int,
    budget: MemoryBudget,
    memory: float = 1.0,
    seconds: float = DEFAULT_SECONDS,
) -> AsyncIterator[Downloaded]:
    """Fetch a file and hold its share of the memory budget until the block ends.

    client: a guarded one. hosts: where files may come from. memory: what is held of the budget, in lengths of the file.
    seconds: cap on the whole, without the wait for memory.
    Raises OutputRefused, SourceGone or SourceUnavailable on entering; what the block raises passes untouched.
    """
    with _as_source_errors():
        target = check_url(url, policy, hosts=hosts)
    clock = _TimeBudget(seconds)
    request = client.build_request("GET", target, headers={"Accept-Encoding": "identity"})
    with _as_source_errors():
        async with clock.spend():
            response = await client.send(request, stream=True)
    try:
        expected = _expected_bytes(response, max_bytes, budget)
        async with budget.reserve(min(int(expected * memory), budget.total)) as reservation:
            with _as_source_errors():
                async with clock.spend():
                    body, digest = await _read(response, max_bytes)
            await response.aclose()
            reservation.shrink(int(len(body) * memory))
            yield Downloaded(body, digest, response.headers.get("content-type"))
    finally:
        await response.aclose()


def _expected_bytes(response: httpx.Response, max_bytes: int, budget: MemoryBudget) -> int:
    """Return how much memory the file may need; raises for an answer that holds no file, or too large a one."""
    decide_status(response.status_code)
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in {"identity", ""}:
        raise OutputRefused("the provider's file came with a Content-Encoding, which was not asked for")
    announced = response.headers.get("content-length")
    if announced is None:
        return min(max_bytes, budget.total)
    if int(announced) > max_bytes:
        raise _too_large(max_bytes)
    return int(announced)


def decide_status(status: int) -> None:
    """Raise what an HTTP status means for a file; returns for 200 and 203."""
    if status in {200, 203}:
        return
    if 300 <= status < 400:
        raise OutputRefused(f"the provider's URL redirects (HTTP {status}), which is not followed")
    if 400 <= status < 500 and status not in _PASSING:
        # S3 answers 400 or 403 once a signed URL has expired, others 404 or 410.
        raise SourceGone(f"the provider's URL gives nothing any more (HTTP {status})")
    raise SourceUnavailable(f"the provider's URL can't be read now (HTTP {status})")


async def _read(response: httpx.Response, max_bytes: int) -> tuple[bytearray, bytes]:
    body, digest = bytearray(), hashlib.sha256()
    async for chunk in response.aiter_raw():
        if len(body) + len(chunk) > max_bytes:
            raise _too_large(max_bytes)
        body += chunk
        digest.update(chunk)
    return body, digest.digest()


def _too_large(max_bytes: int) -> OutputRefused:
    return OutputRefused(f"the provider's file is larger than {max_bytes} bytes")


class _TimeBudget:
    """Seconds that several steps share."""

    def __init__(self, seconds: float) -> None:
        self._left = seconds

    @asynccontextmanager
    async def spend(self) -> AsyncIterator[None]:
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            async with asyncio.timeout(self._left):
                yield
        finally:
            self._left -= loop.time() - started


@contextmanager
def _as_source_errors() -> Iterator[None]:
    """Turn the guard's and the network's errors into ours; their own texts may quote a URL, so only names are kept."""
    try:
        yield
    except Refused as refused:
        raise OutputRefused(f"the provider's URL is not allowed: {refused}", hint_for_refusal(refused.reason)) from None
    except TimeoutError:
        raise SourceUnavailable("the provider's file took too long to fetch") from None
    except httpx.HTTPError as error:
        raise SourceUnavailable(f"the provider's file could not be fetched ({type(error).__name__})") from None
