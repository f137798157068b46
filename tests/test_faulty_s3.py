"""The proxy that makes S3 go wrong: what it does is what its rules say, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError

from service.demo.s3server import S3Server
from service.outputs.bucket import S3
from service.outputs.s3_clients import Buckets
from service.outputs.spec import BucketSpec
from tests.faulty_s3 import (
    PLACES,
    SKEWED,
    SLOW_DOWN,
    Act,
    Alter,
    Cut,
    Drip,
    Error,
    FaultyS3,
    Stall,
    Twice,
    Where,
)
from tests.outputs.conftest import LOCAL, spec_for

BODY = bytes(range(256)) * 40


@pytest.fixture
def spec(s3_server: S3Server, bucket: str, faulty_s3: FaultyS3) -> BucketSpec:
    return replace(spec_for(s3_server, bucket), endpoint_url=faulty_s3.endpoint_url)


@pytest.fixture
async def s3(spec: BucketSpec) -> AsyncIterator[S3]:
    opened = Buckets(LOCAL)
    async with opened.client(spec) as client:
        yield client
    await opened.aclose()


async def write(s3: S3, bucket: str, key: str = "a/x.bin", **more: str) -> None:
    await s3.put_object(Bucket=bucket, Key=key, Body=BODY, **more)


async def test_without_a_rule_everything_arrives_as_it_was_sent(
    s3: S3, bucket: str, faulty_s3: FaultyS3, s3_server: S3Server
) -> None:
    await write(s3, bucket, "a b/ü.bin", ContentType="image/png")
    assert s3_server.read(bucket, "a b/ü.bin") == BODY
    with pytest.raises(ClientError, match="PreconditionFailed"):
        await write(s3, bucket, "a b/ü.bin", IfNoneMatch="*")
    answer = await s3.get_object(Bucket=bucket, Key="a b/ü.bin")
    async with answer["Body"] as stream:
        assert await stream.read() == BODY
    assert [(r.operation, r.key, r.status) for r in faulty_s3.seen] == [
        ("PutObject", "a b/ü.bin", 200), ("PutObject", "a b/ü.bin", 412), ("GetObject", "a b/ü.bin", 200),
    ]  # fmt: skip
    assert faulty_s3.seen[0].headers["content-type"] == "image/png"


async def test_every_request_of_a_multipart_upload_has_its_name(s3: S3, bucket: str, faulty_s3: FaultyS3) -> None:
    place = {"Bucket": bucket, "Key": "large"}
    for end in ("complete", "abort"):
        upload = {**place, "UploadId": (await s3.create_multipart_upload(**place))["UploadId"]}
        part = await s3.upload_part(**upload, PartNumber=1, Body=BODY)
        if end == "complete":
            parts = [{"PartNumber": 1, "ETag": part["ETag"]}]
            await s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
        else:
            await s3.abort_multipart_upload(**upload)
    await s3.list_multipart_uploads(Bucket=bucket)
    await s3.delete_object(**place)
    assert faulty_s3.operations() == [
        "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload",
        "CreateMultipartUpload", "UploadPart", "AbortMultipartUpload",
        "ListMultipartUploads", "DeleteObject",
    ]  # fmt: skip
    assert [request.part for request in faulty_s3.seen[:3]] == [None, 1, None]


async def test_a_rule_takes_the_requests_that_it_names_and_no_others(
    s3: S3, bucket: str, faulty_s3: FaultyS3, s3_server: S3Server
) -> None:
    rule = faulty_s3.inject(Error(403, "AccessDenied"), "PutObject", key="b", skip=1, times=1)
    for key in ("a", "b", "a"):
        await write(s3, bucket, key)
    with pytest.raises(ClientError, match="AccessDenied"):
        await write(s3, bucket, "b")
    await write(s3, bucket, "b")
    assert (rule.hits, s3_server.list_keys(bucket)) == (1, ["a", "b"])
    assert [bool(request.passed_on) for request in faulty_s3.seen] == [True, True, True, False, True]


@pytest.mark.parametrize("where", PLACES)
async def test_a_connection_is_cut_where_the_rule_says(
    s3: S3, bucket: str, faulty_s3: FaultyS3, s3_server: S3Server, where: Where
) -> None:
    faulty_s3.inject(Cut(where), "PutObject", times=None)
    with pytest.raises(ConnectionClosedError):
        await write(s3, bucket)
    arrived = where in {"answer", "answered"}
    assert s3_server.list_keys(bucket) == (["a/x.bin"] if arrived else [])
    assert {request.body_bytes for request in faulty_s3.seen} == {
        {"before": 0, "body": len(BODY) // 2}.get(where, len(BODY))
    }


@pytest.mark.parametrize(
    ("act", "code", "stored"),
    [
        (SKEWED, "RequestTimeTooSkewed", False),
        # botocore takes it for a 500, and asks once more.
        (Error(200, "InternalError", inside=True, done=True), "PreconditionFailed", True),
        (Error(409, "ConditionalRequestConflict", done=True), "ConditionalRequestConflict", True),
        (Alter({"x-amz-date": "20200101T000000Z"}), "RequestTimeTooSkewed", False),
        (Twice(), "PreconditionFailed", True),
        (Drip(at_once=20), None, True),
    ],
)
async def test_an_act_ends_as_it_says(
    s3: S3, bucket: str, faulty_s3: FaultyS3, s3_server: S3Server, act: Act, code: str | None, stored: bool
) -> None:
    faulty_s3.inject(act, "PutObject")
    if code is None:
        await write(s3, bucket, IfNoneMatch="*")
    else:
        with pytest.raises(ClientError) as refused:
            await write(s3, bucket, IfNoneMatch="*")
        assert refused.value.response["Error"]["Code"] == code
    assert s3_server.list_keys(bucket) == (["a/x.bin"] if stored else [])


async def test_a_passing_error_is_over_after_its_times(s3: S3, bucket: str, faulty_s3: FaultyS3) -> None:
    faulty_s3.inject(SLOW_DOWN, times=1)
    await write(s3, bucket)  # botocore's second try
    assert [request.status for request in faulty_s3.seen] == [503, 200]


async def test_a_stall_lasts_until_the_client_hangs_up(
    s3: S3, bucket: str, faulty_s3: FaultyS3, s3_server: S3Server
) -> None:
    faulty_s3.inject(Stall("answer"), "PutObject")
    writing = asyncio.create_task(write(s3, bucket))
    await faulty_s3.stalled.wait()
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
    assert [request.status for request in faulty_s3.seen] == [None]
    assert s3_server.list_keys(bucket) == ["a/x.bin"]
