"""Reads an object that we have stored, to store it somewhere else; what comes must be what was stored."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from typing import Any

from botocore.exceptions import ClientError

from service.aws.answers import read_s3_code
from service.outputs.bucket import REQUEST_SECONDS, SLOWEST
from service.outputs.errors import DestinationError, SourceGone, SourceUnavailable
from service.outputs.files import File
from service.outputs.s3_errors import S3_ERRORS, decide_s3_error
from service.outputs.spec import BucketSpec

_MISSING = {"404", "NoSuchKey", "NotFound", "NoSuchBucket"}
_HINT = (
    "Let the credentials of the job's first destination read the object (s3:GetObject; with KMS also kms:Decrypt), then"
    " retry the copy."
)


@asynccontextmanager
async def open_stored(s3: Any, spec: BucketSpec, key: str, *, size: int, sha256: bytes) -> AsyncIterator[File]:
    """Lend an object of ours; sha256: 32 raw bytes, those of its content.

    Raises SourceGone or SourceUnavailable, on entering or when it is read.
    """
    with as_source_errors():
        async with asyncio.timeout(REQUEST_SECONDS):
            answer = await _get(s3, spec, key)
    body = answer["Body"]
    async with body:  # not `as`: what that gives is the answer below it, whose `read` is another one
        if answer["ContentLength"] != size:
            raise SourceGone("the object that was stored first has another size now", _HINT)
        yield Verified(Arriving(body, size, as_source_errors), sha256)


async def _get(s3: Any, spec: BucketSpec, key: str) -> Any:
    try:
        return await s3.get_object(**spec.place(key))
    except ClientError as error:
        if read_s3_code(error) in _MISSING:
            raise SourceGone("the object that was stored first is not there any more") from None
        raise


class Verified:
    """A file that must have a digest; its last bytes are not given out unless it has. sha256: 32 raw bytes."""

    def __init__(self, file: File, sha256: bytes) -> None:
        self.size = file.size
        self._file = file
        self._wanted = sha256
        self._digest = hashlib.sha256()
        self._came = 0

    async def read(self, most: int) -> bytearray:
        """Return the next bytes, as `File` has it; raises SourceGone for a file that is another one."""
        piece = await self._file.read(most)
        self._digest.update(piece)
        self._came += len(piece)
        over = len(piece) < most or self._came == self.size
        if over and self._digest.digest() != self._wanted:
            raise SourceGone("the file is not the one that was stored first: it has another digest")
        return piece


class Arriving:
    """The body of a GetObject. told: turns what reading raises into what it means."""

    def __init__(self, body: Any, size: int, told: Callable[[], AbstractContextManager[None]]) -> None:
        self._body = body
        self._told = told
        self.size = size

    async def read(self, most: int) -> bytearray:
        """Return the next bytes, as `File` has it."""
        found = bytearray()
        with self._told():
            async with asyncio.timeout(REQUEST_SECONDS + most / SLOWEST):
                while len(found) < most and (chunk := await self._body.read(most - len(found))):
                    found += chunk
        return found


@contextmanager
def as_source_errors() -> Iterator[None]:
    """Turn what a bucket says into what it means for a file that is read from it."""
    try:
        yield
    except (DestinationError, *S3_ERRORS) as error:
        said = decide_s3_error(error)
        if said.final:
            raise SourceGone(f"the object that was stored first can't be read: {said.message}", _HINT) from None
        raise SourceUnavailable(f"the object that was stored first can't be read now: {said.message}") from None
