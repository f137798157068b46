"""Uploads in parts to a real S3 server, with what may go wrong between it and us."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

import pytest

from service.outputs import multipart
from service.outputs.bucket import S3, Stored, find_ours
from service.outputs.errors import DestinationConflict, DestinationDenied, DestinationUnavailable
from service.outputs.multipart import Proof, Upload, abort, list_uploads, open_upload
from service.outputs.s3_clients import Buckets
from service.outputs.spec import BucketSpec
from tests.faulty_s3 import (
    ACCESS_DENIED,
    CONFLICT,
    INTERNAL_ERROR,
    NO_SUCH_UPLOAD,
    PRECONDITION_FAILED,
    SLOW_DOWN,
    Act,
    Cut,
    Error,
    FaultyS3,
    Stall,
    Twice,
)
from tests.outputs.orders import NotedOrder, composite, find_uploads, head, list_keys, read_object

PART = 5 * 2**20
PARTS = [bytes([number]) * PART for number in (1, 2)] + [b"the end"]
BODY = b"".join(PARTS)
DIGEST = hashlib.sha256(BODY).digest()


@dataclass
class Ground:
    """A bucket behind the proxy, and the same without it."""

    s3: S3
    spec: BucketSpec
    proxy: FaultyS3
    straight: S3
    order: NotedOrder = field(default_factory=NotedOrder)
    seconds: float = 20.0

    @property
    def key(self) -> str:
        return self.order.key

    async def write(self, order: NotedOrder | None = None, parts: list[bytes] = PARTS) -> Stored:
        """Write a file in parts, all of it."""
        order = order or self.order
        async with open_upload(
            self.s3, self.spec, order.key, media_type="video/mp4", metadata=order.metadata, ledger=order,
            parts_in_flight=2, seconds=self.seconds,
        ) as upload:  # fmt: skip
            return await send_and_complete(upload, self.spec, order, parts)

    async def is_ours(self) -> bool | None:
        mark, checksum = self.order.mark, composite(BODY, PART)
        return await find_ours(
            self.straight, self.spec, self.key, sha256=DIGEST, size=len(BODY), mark=mark, checksum=checksum
        )

    async def check(self, keys: list[str], uploads: int = 0) -> None:
        assert await list_keys(self.straight, self.spec) == keys
        assert len(await find_uploads(self.straight, self.spec)) == uploads


async def send_and_complete(upload: Upload, spec: BucketSpec, order: NotedOrder, parts: list[bytes]) -> Stored:
    whole = hashlib.sha256()
    for part in parts:
        whole.update(part)
        await upload.send(part, hashlib.sha256(part).digest())
    await upload.land()
    size = sum(map(len, parts))
    return await upload.complete(spec, order.key, Proof(size, whole.digest(), upload.mark, upload.checksum))


@pytest.fixture
async def ground(buckets: Buckets, spec: BucketSpec, faulty_s3: FaultyS3) -> AsyncIterator[Ground]:
    behind = replace(spec, endpoint_url=faulty_s3.endpoint_url)
    async with buckets.client(spec) as straight, buckets.client(behind) as s3:
        yield Ground(s3, behind, faulty_s3, straight)
        for key, upload_id in await find_uploads(straight, spec):
            await abort(straight, {**spec.place(key), "UploadId": upload_id})


async def test_parts_become_one_object_with_the_checksum_that_we_expect(ground: Ground) -> None:
    assert await ground.write() == Stored(already=False)
    found = await head(ground.straight, ground.spec, ground.key)
    assert await read_object(ground.straight, ground.spec, ground.key) == BODY
    assert (found["ContentType"], found["ChecksumSHA256"]) == ("video/mp4", composite(BODY, PART))
    assert found["Metadata"] == {"genrelay-job": "job_1", "genrelay-mark": ground.order.mark}
    assert ground.order.noted == ["begin", "name", "end"]
    await ground.check([ground.key])


async def test_tags_of_the_destination_are_set(ground: Ground) -> None:
    ground.spec = replace(ground.spec, tags={"team": "renders & more"})
    await ground.write()
    tags = await ground.straight.get_object_tagging(Bucket=ground.spec.bucket, Key=ground.key)
    assert {tag["Key"]: tag["Value"] for tag in tags["TagSet"]} == ground.spec.tags


async def test_no_more_parts_are_under_way_than_are_allowed(ground: Ground) -> None:
    stalled = ground.proxy.inject(Stall("before"), "UploadPart", times=2)
    async with open_upload(
        ground.s3, ground.spec, ground.key, media_type="video/mp4", metadata={}, ledger=ground.order,
        parts_in_flight=2, seconds=20.0,
    ) as upload:  # fmt: skip
        for part in PARTS[:2]:
            await upload.send(part, hashlib.sha256(part).digest())
        sending = asyncio.create_task(upload.send(PARTS[2], hashlib.sha256(PARTS[2]).digest()))
        while stalled.hits < 2:
            await asyncio.wait({sending}, timeout=0.01)
        assert not sending.done()
        assert ground.proxy.count("UploadPart") == 2
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
    await ground.check([])
    # Aborted, and to be aborted once more: parts that were on their way may have arrived since.
    assert ground.order.noted == ["begin", "name", "leave"]


async def test_a_part_that_is_altered_on_the_way_is_caught_by_the_server(ground: Ground) -> None:
    async with open_upload(
        ground.s3, ground.spec, ground.key, media_type="video/mp4", metadata={}, ledger=ground.order, parts_in_flight=2
    ) as upload:
        await upload.send(PARTS[0], hashlib.sha256(PARTS[1]).digest())
        with pytest.raises(DestinationUnavailable) as altered:
            await upload.land()
    assert altered.value.s3_code == "BadDigest"
    assert ground.order.noted == ["begin", "name", "end"]
    await ground.check([])


# --- What is under the key already ----------------------------------------------------------------------------------


async def test_a_second_upload_of_the_same_counts_as_written_and_is_aborted(ground: Ground) -> None:
    await ground.write()
    assert await ground.write() == Stored(already=True)
    other = NotedOrder(ground.order.name_)  # another mark: the checksum tells
    assert await ground.write(other) == Stored(already=True)
    await ground.check([ground.key])


async def test_an_upload_counts_as_written_where_one_request_wrote_the_same(ground: Ground) -> None:
    await ground.straight.put_object(
        Bucket=ground.spec.bucket, Key=ground.key, Body=BODY, Metadata={"sha256": DIGEST.hex()}
    )
    assert await ground.write() == Stored(already=True)
    await ground.check([ground.key])


async def test_something_else_under_the_key_is_a_conflict_and_left_alone(ground: Ground) -> None:
    for theirs in (b"theirs", BODY[::-1]):
        await ground.straight.put_object(Bucket=ground.spec.bucket, Key=ground.key, Body=theirs)
        with pytest.raises(DestinationConflict):
            await ground.write()
        assert await read_object(ground.straight, ground.spec, ground.key) == theirs
        await ground.check([ground.key])


async def test_two_uploads_of_the_same_at_once_are_one_object(ground: Ground) -> None:
    outcomes = await asyncio.gather(ground.write(), ground.write(), return_exceptions=True)
    # One may have to begin anew, which is its job's to do.
    again = [await ground.write() if isinstance(each, DestinationUnavailable) else each for each in outcomes]
    assert all(isinstance(each, Stored) for each in again), again
    assert await read_object(ground.straight, ground.spec, ground.key) == BODY
    await ground.check([ground.key])


async def test_the_mark_alone_shows_that_an_object_is_ours(ground: Ground) -> None:
    await ground.write()
    for mark, checksum, ours in (
        (ground.order.mark, None, True),
        ("another", composite(BODY, PART), True),
        ("another", None, False),
        (None, "another", False),
    ):
        found = await find_ours(
            ground.straight, ground.spec, ground.key, sha256=DIGEST, size=len(BODY), mark=mark, checksum=checksum
        )
        assert found is ours
    assert not await find_ours(ground.straight, ground.spec, ground.key, sha256=DIGEST, size=1, mark=ground.order.mark)


# --- Answers to the completion --------------------------------------------------------------------------------------

COMPLETE = "CompleteMultipartUpload"


DONE = [
    Cut("answer"),
    Cut("answered"),
    Error(500, "InternalError", done=True),
    Error(200, "InternalError", inside=True, done=True),
    Error(409, "ConditionalRequestConflict", done=True),
    Error(404, "NoSuchUpload", done=True),
]
NOT_DONE = [
    Cut("before"),
    Cut("body"),
    INTERNAL_ERROR,
    SLOW_DOWN,
    Error(200, "InternalError", inside=True),
    CONFLICT,
    NO_SUCH_UPLOAD,
]


@pytest.mark.parametrize("act", DONE, ids=str)
async def test_a_completion_that_was_done_counts_whatever_was_answered(ground: Ground, act: Act) -> None:
    ground.proxy.inject(act, COMPLETE, times=None)
    assert await ground.write() == Stored(already=True)
    await ground.check([ground.key])


@pytest.mark.parametrize("act", NOT_DONE, ids=str)
async def test_a_completion_that_was_not_done_is_tried_from_the_start(ground: Ground, act: Act) -> None:
    ground.proxy.inject(act, COMPLETE, times=None)
    with pytest.raises(DestinationUnavailable):
        await ground.write()
    await ground.check([])
    ground.proxy.forget()
    assert await ground.write() == Stored(already=False)
    await ground.check([ground.key])


async def test_a_completion_that_is_lost_once_is_sent_again_at_once(ground: Ground) -> None:
    for act in (Cut("before"), Cut("answer"), INTERNAL_ERROR, Twice()):
        order = NotedOrder()
        ground.proxy.inject(act, COMPLETE)
        await ground.write(order)
        assert await read_object(ground.straight, ground.spec, order.key) == BODY
    await ground.check(sorted(await list_keys(ground.straight, ground.spec)))


async def test_a_completion_that_is_never_answered_ends_in_time_and_the_bucket_tells(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(multipart, "_COMPLETING", 0.02)
    ground.proxy.inject(Stall("before"), COMPLETE)
    with pytest.raises(DestinationUnavailable):
        await ground.write()
    assert ground.order.noted[-1] == "end"
    ground.proxy.inject(Stall("answer"), COMPLETE)
    assert await ground.write() == Stored(already=True)
    await ground.check([ground.key])


async def test_a_completion_that_is_refused_is_final_and_not_looked_after(ground: Ground) -> None:
    ground.proxy.inject(ACCESS_DENIED, COMPLETE, times=None)
    with pytest.raises(DestinationDenied):
        await ground.write()
    assert ground.proxy.count("HeadObject") == 0
    await ground.check([])


async def test_an_occupied_key_that_can_not_be_looked_at_is_denied_with_what_to_allow(ground: Ground) -> None:
    ground.proxy.inject(PRECONDITION_FAILED, COMPLETE)
    ground.proxy.inject(Error(403, "403"), "HeadObject", times=None)
    with pytest.raises(DestinationDenied) as denied:
        await ground.write()
    assert "s3:GetObject" in denied.value.hint
    await ground.check([])


async def test_an_unclear_completion_that_can_not_be_looked_at_is_tried_from_the_start(ground: Ground) -> None:
    ground.proxy.inject(INTERNAL_ERROR, COMPLETE, times=None)
    ground.proxy.inject(Error(403, "403"), "HeadObject", times=None)
    with pytest.raises(DestinationUnavailable):
        await ground.write()
    await ground.check([])


async def test_an_occupied_key_that_is_free_again_is_tried_from_the_start(ground: Ground) -> None:
    ground.proxy.inject(PRECONDITION_FAILED, COMPLETE)
    with pytest.raises(DestinationUnavailable):
        await ground.write()
    await ground.check([])


# --- Uploads that may be left behind --------------------------------------------------------------------------------


async def test_a_creation_that_is_refused_leaves_nothing_to_sweep(ground: Ground) -> None:
    ground.proxy.inject(ACCESS_DENIED, "CreateMultipartUpload")
    with pytest.raises(DestinationDenied):
        await ground.write()
    assert ground.order.noted == ["begin", "end"]


async def test_a_creation_without_an_answer_is_left_to_the_sweep(ground: Ground) -> None:
    ground.proxy.inject(Cut("answer"), "CreateMultipartUpload", times=None)
    with pytest.raises(DestinationUnavailable):
        await ground.write()
    assert ground.order.noted == ["begin", "leave"]
    found = await list_uploads(ground.straight, ground.spec, ground.key)
    assert found
    for upload_id in found:
        await abort(ground.straight, {**ground.spec.place(ground.key), "UploadId": upload_id})
    await ground.check([])


async def test_a_creation_that_was_sent_twice_is_noted_as_doubtful(ground: Ground) -> None:
    ground.proxy.inject(Cut("answer"), "CreateMultipartUpload")
    await ground.write()
    assert ground.order.noted == ["begin", "name", "doubt", "end"]
    await ground.check([ground.key], uploads=1)


async def test_an_upload_that_can_not_be_aborted_is_left_to_the_sweep(ground: Ground) -> None:
    ground.proxy.inject(ACCESS_DENIED, "UploadPart", times=None)
    ground.proxy.inject(INTERNAL_ERROR, "AbortMultipartUpload", times=None)
    with pytest.raises(DestinationDenied):
        await ground.write()
    assert ground.order.noted == ["begin", "name", "leave"]
    await ground.check([], uploads=1)


async def test_an_upload_that_somebody_else_has_aborted_is_tried_from_the_start(ground: Ground) -> None:
    async with open_upload(
        ground.s3, ground.spec, ground.key, media_type="video/mp4", metadata={}, ledger=ground.order, parts_in_flight=2
    ) as upload:
        await upload.send(PARTS[0], hashlib.sha256(PARTS[0]).digest())
        await upload.land()
        [upload_id] = await list_uploads(ground.straight, ground.spec, ground.key)
        await abort(ground.straight, {**ground.spec.place(ground.key), "UploadId": upload_id})
        with pytest.raises(DestinationUnavailable):
            await send_and_complete(upload, ground.spec, ground.order, PARTS[1:])
    # A part that was still on its way may arrive after the abort: then the sweep aborts once more.
    assert ground.order.noted[:2] == ["begin", "name"]
    assert ground.order.noted[2] in {"end", "leave"}
    await ground.check([])


async def test_only_uploads_under_exactly_this_key_are_listed(ground: Ground) -> None:
    for key in ("a/00.mp4", "a/00.mp4.more"):
        await ground.straight.create_multipart_upload(Bucket=ground.spec.bucket, Key=key)
    assert len(await list_uploads(ground.straight, ground.spec, "a/00.mp4")) == 1
    assert await list_uploads(ground.straight, ground.spec, "a/0") == []
