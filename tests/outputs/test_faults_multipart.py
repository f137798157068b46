"""An upload in parts to a server that stalls or drips: it ends in its time, and what it leaves is known."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

import pytest
from botocore.retries.standard import ExponentialBackoff

from service.outputs.bucket import S3, put_once
from service.outputs.errors import DestinationUnavailable
from service.outputs.multipart import Proof, list_uploads, open_upload
from service.outputs.s3_clients import Buckets
from service.outputs.spec import BucketSpec
from tests.faulty_s3 import Cut, Drip, Error, FaultyS3, Stall

SECONDS = 2.0  # for a request: enough for one that is answered, on a busy machine too
PARTS = [bytes(5 * 2**20), b"the end"]
WHOLE = b"".join(PARTS)


@dataclass
class Noted:
    """What was committed about an upload, in order (`service.outputs.multipart.Ledger`)."""

    said: list[str] = field(default_factory=list)

    async def begin(self, key: str) -> str:
        self.said.append("begin")
        return "a-mark"

    async def name(self, upload_id: str) -> None:
        self.said.append("name")

    async def doubt(self) -> None:
        self.said.append("doubt")

    async def end(self) -> None:
        self.said.append("end")

    async def leave(self) -> None:
        self.said.append("leave")


@pytest.fixture
def behind(spec: BucketSpec, faulty_s3: FaultyS3) -> BucketSpec:
    """The bucket as it is seen through the proxy."""
    return replace(spec, endpoint_url=faulty_s3.endpoint_url)


@pytest.fixture
async def s3(buckets: Buckets, behind: BucketSpec, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[S3]:
    """A client whose second tries follow at once."""
    monkeypatch.setattr(ExponentialBackoff, "delay_amount", lambda _self, _context: 0.0)
    async with buckets.client(behind) as client:
        yield client


async def upload(s3: S3, spec: BucketSpec, noted: Noted) -> None:
    """Write an object in two parts."""
    digests = [hashlib.sha256(part).digest() for part in PARTS]
    async with (
        asyncio.timeout(30),
        open_upload(
            s3, spec, "key", media_type="audio/wav", metadata={}, ledger=noted, parts_in_flight=2, seconds=SECONDS
        ) as opened,
    ):
        for part, digest in zip(PARTS, digests, strict=True):
            await opened.send(part, digest)
        await opened.land()
        proof = Proof(len(WHOLE), hashlib.sha256(WHOLE).digest(), opened.mark, opened.checksum)
        await opened.complete(spec, "key", proof)


@pytest.mark.parametrize(
    ("operation", "part", "left"),
    [
        ("CreateMultipartUpload", None, ["begin", "leave"]),
        ("UploadPart", 2, ["begin", "name", "end"]),
        ("CompleteMultipartUpload", None, ["begin", "name", "end"]),
    ],
)
@pytest.mark.parametrize("act", [Stall("before"), Drip(pause=SECONDS)], ids=["stalls", "drips"])
async def test_a_request_that_does_not_end_ends_the_upload_in_its_time(
    act: Stall | Drip,
    operation: str,
    part: int | None,
    left: list[str],
    s3: S3,
    behind: BucketSpec,
    faulty_s3: FaultyS3,
) -> None:
    noted = Noted()
    faulty_s3.inject(act, operation, part=part, times=None)
    if operation == "CompleteMultipartUpload" and isinstance(act, Drip):
        # It was done; and who looks sees that it was.
        await upload(s3, behind, noted)
    else:
        with pytest.raises(DestinationUnavailable, match="timed out"):
            await upload(s3, behind, noted)
    assert noted.said == left
    faulty_s3.forget()
    opened = await list_uploads(s3, behind, "key")
    assert len(opened) == (1 if operation == "CreateMultipartUpload" and isinstance(act, Drip) else 0)


async def test_a_completion_that_is_done_and_answered_too_late_is_found(
    s3: S3, behind: BucketSpec, faulty_s3: FaultyS3
) -> None:
    noted = Noted()
    faulty_s3.inject(Stall("answer"), "CompleteMultipartUpload", times=None)
    await upload(s3, behind, noted)
    assert noted.said == ["begin", "name", "end"]
    assert faulty_s3.operations()[-2:] == ["HeadObject", "AbortMultipartUpload"]


async def test_a_part_that_is_answered_too_late_ends_the_upload(
    s3: S3, behind: BucketSpec, faulty_s3: FaultyS3
) -> None:
    noted = Noted()
    faulty_s3.inject(Stall("answer"), "UploadPart", part=2)
    with pytest.raises(DestinationUnavailable, match="timed out"):
        await upload(s3, behind, noted)
    assert noted.said == ["begin", "name", "end"]
    assert await list_uploads(s3, behind, "key") == []


async def test_a_creation_that_was_asked_for_twice_leaves_a_doubt(
    s3: S3, behind: BucketSpec, faulty_s3: FaultyS3
) -> None:
    noted = Noted()
    faulty_s3.inject(Cut("answer"), "CreateMultipartUpload")
    await upload(s3, behind, noted)
    assert noted.said == ["begin", "name", "doubt", "end"]
    # The first one is open still, and nobody knows its id.
    assert len(await list_uploads(s3, behind, "key")) == 1


@pytest.mark.parametrize("act", [Cut("answer"), Error(503, "SlowDown"), Stall("before")], ids=["cut", "busy", "stalls"])
async def test_an_abort_that_fails_is_left_to_the_sweep(
    act: Cut | Error | Stall, s3: S3, behind: BucketSpec, faulty_s3: FaultyS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.outputs.multipart._GIVING_UP_SECONDS", SECONDS)
    noted = Noted()
    faulty_s3.inject(Error(500, "InternalError"), "UploadPart", part=1, times=None)
    faulty_s3.inject(act, "AbortMultipartUpload", times=None)
    with pytest.raises(DestinationUnavailable):
        await upload(s3, behind, noted)
    assert noted.said == ["begin", "name", "leave"]


async def test_a_write_that_is_done_and_answered_too_late_is_found_by_the_next(
    s3: S3, behind: BucketSpec, faulty_s3: FaultyS3
) -> None:
    faulty_s3.inject(Stall("answer"), "PutObject")

    async def put() -> bool:
        sha256 = hashlib.sha256(b"body").digest()
        stored = await put_once(
            s3, behind, "key", b"body", sha256=sha256, media_type="audio/wav", metadata={}, seconds=SECONDS
        )
        return stored.already

    with pytest.raises(DestinationUnavailable, match="timed out"):
        await put()
    assert await put() is True
    assert faulty_s3.operations() == ["PutObject", "PutObject", "HeadObject"]
