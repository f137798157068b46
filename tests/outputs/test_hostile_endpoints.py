"""S3 endpoints that send without end: an account may name any host, so what it sends is bounded in length and time."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest

from service.outputs.bucket import find_ours, put_once
from service.outputs.bucket_check import check_bucket
from service.outputs.errors import DestinationUnavailable
from service.outputs.probe import _BODY
from service.outputs.s3_clients import Buckets
from service.outputs.spec import BucketSpec
from service.outputs.steps import Step
from tests.listening import WRITTEN, Listener, http_answer, listening

SECONDS = 1.0
LONG = 2**26  # bytes
MUCH_LESS = 2**25  # bytes; what the sockets of two connections hold comes on top of what is read
BODY = b"a lighthouse at dawn"
DIGEST = hashlib.sha256(BODY).digest()


@dataclass
class Hostile:
    """An S3 server that keeps to the rules but for one method, which it answers without an end.

    sent: bytes of such answers that went out. first: how they begin.
    """

    method: bytes
    first: bytes
    drips: bool = False
    sent: int = 0
    writes: int = 0
    listener: Listener = field(default_factory=Listener)
    answers: list[asyncio.Task[None] | None] = field(default_factory=list)

    @asynccontextmanager
    async def serving(self, spec: BucketSpec) -> AsyncIterator[BucketSpec]:
        """Serve, then wait for every answer to end: those without an end do once their connection is closed."""
        async with listening(self.answer) as self.listener:
            yield replace(spec, endpoint_url=f"http://127.0.0.1:{self.listener.port}")
            await asyncio.gather(*filter(None, self.answers), return_exceptions=True)

    async def answer(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        method = self.listener.requests[-1].split()[0]
        self.answers.append(asyncio.current_task())
        if method != self.method:
            writer.write(self._fair(method))
            return
        writer.write(self.first)
        while self.sent < LONG:
            writer.write(b"x" if self.drips else bytes(2**16))
            await writer.drain()
            self.sent += 1 if self.drips else 2**16
            await asyncio.sleep(0.1 if self.drips else 0)

    def _fair(self, method: bytes) -> bytes:
        if method == b"HEAD":
            kept = f"x-amz-meta-sha256: {hashlib.sha256(_BODY).hexdigest()}"
            return f"HTTP/1.1 200 OK\r\nContent-Length: {len(_BODY)}\r\n{kept}\r\nConnection: close\r\n\r\n".encode()
        if method == b"GET":
            return http_answer(200, _BODY)
        if method == b"DELETE":
            return http_answer(204)
        self.writes += 1
        return http_answer(412) if self.writes == 2 else WRITTEN


def begin(status: int, length: int = LONG) -> bytes:
    return f"HTTP/1.1 {status} Status\r\nContent-Length: {length}\r\n\r\n".encode()


async def check(buckets: Buckets, spec: BucketSpec, hostile: Hostile, seconds: float = 60) -> dict[str, Step]:
    # The client is made first, so that this is not part of what is timed.
    async with asyncio.timeout(30), hostile.serving(spec) as there, buckets.client(there):
        return {step.step: step for step in await check_bucket(buckets, there, "", seconds=seconds)}


@pytest.mark.parametrize(("method", "step"), [(b"PUT", "put"), (b"GET", "get"), (b"DELETE", "delete")])
async def test_long_error_is_a_broken_connection_and_not_read_to_its_end(
    buckets: Buckets, spec: BucketSpec, method: bytes, step: str
) -> None:
    hostile = Hostile(method, begin(403))
    found = await check(buckets, spec, hostile)
    assert found[step].code == "destination_unavailable"
    assert hostile.sent < MUCH_LESS


async def test_error_of_a_usual_length_is_still_read(buckets: Buckets, spec: BucketSpec) -> None:
    error = b"<Error><Code>AccessDenied</Code><Message>" + b"x" * 2**19 + b"</Message></Error>"
    found = await check(buckets, spec, Hostile(b"GET", begin(403, len(error)) + error))
    assert found["get"].code == "AccessDenied"


async def test_long_answer_to_a_write_is_a_broken_connection(buckets: Buckets, spec: BucketSpec) -> None:
    hostile = Hostile(b"PUT", begin(200))
    assert (await check(buckets, spec, hostile))["put"].code == "destination_unavailable"
    assert hostile.sent < MUCH_LESS


async def test_interim_answers_without_end_are_a_broken_connection(buckets: Buckets, spec: BucketSpec) -> None:
    hostile = Hostile(b"PUT", b"HTTP/1.1 100 C\r\n\r\n" * 1_000_000)
    assert (await check(buckets, spec, hostile))["put"].code == "destination_unavailable"
    assert hostile.sent == 0, "it was not all read"


async def test_probe_that_comes_back_longer_is_not_read_to_its_end(buckets: Buckets, spec: BucketSpec) -> None:
    hostile = Hostile(b"GET", begin(200) + _BODY)
    found = await check(buckets, spec, hostile)
    assert (found["get"].code, found["delete"].ok) == ("ContentChanged", True)
    assert hostile.sent < MUCH_LESS


@pytest.mark.parametrize(
    ("method", "first", "step"),
    [
        (b"PUT", begin(200), "put"),
        (b"PUT", begin(503), "put"),
        (b"HEAD", b"HTTP/1.1 200 OK\r\nX-Slow: ", "head"),
        (b"POST", begin(200), "multipart"),
        (b"GET", begin(403), "get"),
        (b"GET", begin(200), "get"),
        (b"DELETE", begin(200), "delete"),
    ],
)
async def test_dripping_answer_ends_a_step_of_the_check_in_its_time(
    buckets: Buckets, spec: BucketSpec, method: bytes, first: bytes, step: str
) -> None:
    found = await check(buckets, spec, Hostile(method, first, drips=True), SECONDS)
    assert (found[step].code, found[step].message) == ("destination_unavailable", "the connection to S3 timed out")


@pytest.mark.parametrize(
    ("method", "first"), [(b"PUT", begin(200)), (b"PUT", begin(403)), (b"HEAD", b"HTTP/1.1 200 OK\r\nX-Slow: ")]
)
async def test_dripping_answer_ends_a_copy_as_unavailable(
    buckets: Buckets, spec: BucketSpec, method: bytes, first: bytes
) -> None:
    hostile = Hostile(method, first, drips=True, writes=1)
    async with asyncio.timeout(30), hostile.serving(spec) as there, buckets.client(there) as s3:
        with pytest.raises(DestinationUnavailable, match="timed out"):
            await put_once(s3, there, "key", BODY, sha256=DIGEST, media_type="image/png", metadata={}, seconds=SECONDS)


async def test_head_without_a_length_is_not_ours(buckets: Buckets, spec: BucketSpec) -> None:
    hostile = Hostile(b"HEAD", b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", sent=LONG)
    async with hostile.serving(spec) as there, buckets.client(there) as s3:
        assert await find_ours(s3, there, "key", sha256=DIGEST, size=len(BODY)) is False
