"""Fetches a provider's file through the guard: announced, capped, and read as fast as somebody takes it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager

import httpx

from service.net import GuardPolicy, Refused, check_url
from service.outputs.errors import OutputRefused, SourceGone, SourceUnavailable, hint_for_refusal

DEFAULT_SECONDS = 300.0
_SLOWEST = 2**20  # bytes a second: what a file may take longer for its size
# Too early, too often, or took too long: of all 4xx these alone may be better later.
_PASSING = frozenset({408, 425, 429})


class Download:
    """A file (`service.outputs.files.File`) as it comes out of an answer.

    claimed_type: what the server's `Content-Type` says, only a claim.
    """

    def __init__(self, response: httpx.Response, max_bytes: int, clock: _Clock) -> None:
        self.size = _read_size(response, max_bytes)
        self.claimed_type: str | None = response.headers.get("content-type")
        self._chunks = response.aiter_raw()
        self._max_bytes = max_bytes
        self._clock = clock
        self._left = memoryview(b"")
        self._came = 0

    async def read(self, most: int) -> bytearray:
        """Return the next bytes: `most` of them unless the file ends, fewer then, and none after its end.

        Raises OutputRefused or SourceUnavailable.
        """
        piece = bytearray(self._left[:most])
        self._left = self._left[most:]
        if len(piece) < most:
            with _as_source_errors():
                async with self._clock.spend(self._came / _SLOWEST):
                    await self._fill(piece, most)
        return piece

    async def _fill(self, piece: bytearray, most: int) -> None:
        # The end is asked for with the last bytes, so that the connection can be used again.
        while len(piece) < most or self._came == self.size:
            chunk = await anext(self._chunks, None)
            if chunk is None:  # httpx itself has raised if that is earlier than was announced
                return
            self._came += len(chunk)
            if self._came > (self._max_bytes if self.size is None else self.size):
                raise _too_large(self._max_bytes)
            room = most - len(piece)
            # Only what does not fit is kept apart.
            view = memoryview(chunk)
            piece += view[:room]
            self._left = view[room:]


@asynccontextmanager
async def download(
    client: httpx.AsyncClient,
    url: str,
    *,
    policy: GuardPolicy,
    hosts: Sequence[str],
    max_bytes: int,
    seconds: float = DEFAULT_SECONDS,
) -> AsyncIterator[Download]:
    """Open a file until the block ends; what it holds in memory is a chunk of the network, and what is read of it.

    client: a guarded one. hosts: where files may come from. seconds: cap on all that is spent in asking and reading, and
    not between two reads; a file may take a second more for each MiB.
    Raises OutputRefused, SourceGone or SourceUnavailable on entering, and from `read`; what the block raises passes
    untouched.
    """
    with _as_source_errors():
        target = check_url(url, policy, hosts=hosts)
    clock = _Clock(seconds)
    request = client.build_request("GET", target, headers={"Accept-Encoding": "identity"})
    with _as_source_errors():
        async with clock.spend():
            response = await client.send(request, stream=True)
    try:
        yield Download(response, max_bytes, clock)
    finally:
        await response.aclose()


def _read_size(response: httpx.Response, max_bytes: int) -> int | None:
    """Return the announced size; raises for an answer that holds no file, or too large a one."""
    decide_status(response.status_code)
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in {"identity", ""}:
        raise OutputRefused("the provider's file came with a Content-Encoding, which was not asked for")
    announced = response.headers.get("content-length")
    if announced is None or "transfer-encoding" in response.headers:
        return None
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


def _too_large(max_bytes: int) -> OutputRefused:
    return OutputRefused(f"the provider's file is larger than {max_bytes} bytes")


class _Clock:
    """Seconds that several steps share."""

    def __init__(self, seconds: float) -> None:
        self._left = seconds

    @asynccontextmanager
    async def spend(self, more: float = 0.0) -> AsyncIterator[None]:
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            async with asyncio.timeout(self._left + more):
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
