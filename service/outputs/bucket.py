"""Writes one output into one bucket, once: whatever is stored under its key already is never overwritten."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from service.aws.answers import read_s3_code
from service.outputs.errors import DestinationConflict, DestinationDenied, DestinationUnavailable
from service.outputs.formats import Body
from service.outputs.s3_errors import S3_ERRORS, decide_s3_error
from service.outputs.spec import BucketSpec

S3 = Any  # an aiobotocore client; its methods are made at run time
_TRIES = 4
_FIRST_PAUSE = 0.05  # seconds
REQUEST_SECONDS = 60.0  # for a request with its answer and botocore's second try; a dripping endpoint never ends
SLOWEST = 2**18  # bytes a second below which an upload counts as stuck
_CONFLICT = "ConditionalRequestConflict"  # another write of the key is under way, and neither may have come about yet
MARK = "genrelay-mark"  # the key in an object's metadata that says which write made it


@dataclass(frozen=True, slots=True)
class Stored:
    """The object is in the bucket. already: it had been there before, by an earlier try of ours."""

    already: bool


async def put_once(
    s3: S3,
    spec: BucketSpec,
    key: str,
    body: Body,
    *,
    sha256: bytes,
    media_type: str,
    metadata: Mapping[str, str],
    mark: str | None = None,
    seconds: float = REQUEST_SECONDS,
) -> Stored:
    """Write the object unless something is there; what is there and is ours counts as written.

    sha256: 32 raw bytes, sent as the object's checksum and kept in its metadata. metadata: ASCII. mark: that of another
    worker that may write the same object in parts. seconds: for each request; a write has as much more as its body takes
    at 256 KiB a second.
    Raises DestinationConflict, DestinationDenied or DestinationUnavailable.
    """
    request = {
        **spec.place(key),
        **spec.write_settings(),
        "Body": body,
        "IfNoneMatch": "*",
        "ChecksumSHA256": base64.b64encode(sha256).decode(),
        "ContentType": media_type,
        "Metadata": {**metadata, "sha256": sha256.hex()},
    }
    for attempt in range(_TRIES):
        told = await _put(s3, request, seconds + len(body) / SLOWEST)
        if told is None:
            return Stored(already=False)
        try:
            ours = await find_ours(s3, spec, key, sha256=sha256, size=len(body), mark=mark, seconds=seconds)
        except DestinationDenied as denied:
            # Who may not list a bucket hears the same of an object that is not there; only a 412 says that one is.
            if told != _CONFLICT or denied.s3_code != "AccessDenied":
                raise
            ours = None
        if ours is not None:
            return _decide_existing(key, ours=ours)
        # Another write was under way (409), or what was there is gone again: from the start.
        await asyncio.sleep(_FIRST_PAUSE * 2**attempt)
    raise DestinationUnavailable(f"the object {key} is being written by somebody else", s3_code=_CONFLICT)


async def _put(s3: S3, request: dict[str, Any], seconds: float) -> str | None:
    """Write the object and return None; S3's code when the condition did not hold."""
    try:
        async with asyncio.timeout(seconds):
            check_told(await s3.put_object(**request), "ETag")
    except ClientError as error:
        code = read_s3_code(error)
        if code in {"PreconditionFailed", "412", _CONFLICT}:
            return code
        raise decide_s3_error(error) from None
    except S3_ERRORS as error:
        raise decide_s3_error(error) from None
    return None


def check_told(answer: dict[str, Any], name: str) -> dict[str, Any]:
    """Return an answer in which S3 says this, as it always does; raises DestinationUnavailable for any other.

    Endpoints are anybody's: a gateway or a web server may say 200 to whatever it is sent, and keep nothing of it.
    """
    if not answer.get(name):
        raise DestinationUnavailable(
            f"the S3 endpoint's answer has no {name}", "Check that the destination's endpoint is an S3 server's."
        )
    return answer


def _decide_existing(key: str, *, ours: bool) -> Stored:
    if ours:
        return Stored(already=True)
    raise conflict(key)


def conflict(key: str) -> DestinationConflict:
    """Return the error for a key under which something else is stored."""
    return DestinationConflict(f"something else is stored under the key {key}", s3_code="PreconditionFailed")


async def find_ours(
    s3: S3,
    spec: BucketSpec,
    key: str,
    *,
    sha256: bytes,
    size: int,
    mark: str | None = None,
    checksum: str | None = None,
    seconds: float = REQUEST_SECONDS,
) -> bool | None:
    """Return True if the object under the key has our content, False if it has another, None if there is none.

    It is ours if it has the size and one of: the digest or the mark in its metadata, the digest or the checksum (of the
    parts' digests, as S3 has it) as its checksum. seconds: for each of the one or two requests. Raises DestinationDenied
    (reading the head needs s3:GetObject) or DestinationUnavailable.
    """
    found = await _head(s3, spec, key, seconds)
    if found is None or found.get("ContentLength") != size:
        return None if found is None else False
    said = found.get("Metadata", {})
    if "sha256" in said:
        return bool(said["sha256"] == sha256.hex())
    if mark is not None and said.get(MARK) == mark:
        return True
    # Only asked for when needed: with KMS, the checksum takes a permission more than the head.
    found = await _head(s3, spec, key, seconds, ChecksumMode="ENABLED")
    return None if found is None else found.get("ChecksumSHA256") in {base64.b64encode(sha256).decode(), checksum or ""}


async def _head(s3: S3, spec: BucketSpec, key: str, seconds: float, **more: str) -> dict[str, Any] | None:
    try:
        async with asyncio.timeout(seconds):
            head: dict[str, Any] = await s3.head_object(**spec.place(key), **more)
    except ClientError as error:
        match read_s3_code(error):
            case "404" | "NoSuchKey" | "NotFound":
                return None
            case "403" | "AccessDenied":
                raise DestinationDenied(
                    f"the object {key} can't be looked at",
                    "Allow s3:GetObject on the prefix: after a failure we look whether an object is ours.",
                    s3_code="AccessDenied",
                ) from None
        raise decide_s3_error(error) from None
    except S3_ERRORS as error:
        raise decide_s3_error(error) from None
    return head


async def signed_url(s3: S3, spec: BucketSpec, key: str, seconds: int) -> str:
    """Return a URL that reads the object for so many seconds; a secret. Asks nobody, so the object may be missing."""
    try:
        url: str = await s3.generate_presigned_url(
            "get_object", Params={"Bucket": spec.bucket, "Key": key}, ExpiresIn=seconds
        )
    except S3_ERRORS as error:
        raise decide_s3_error(error) from None
    return url
