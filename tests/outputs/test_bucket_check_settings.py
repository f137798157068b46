"""The check of a bucket that refuses, ignores or demands a setting, and its bounds; against a server that can be told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web

from service.aws.auth import AccessKey
from service.outputs.bucket_check import check_bucket
from service.outputs.s3_clients import Buckets
from service.outputs.spec import BucketSpec, Encryption
from tests.outputs.test_bucket_check import outcomes, told
from tests.outputs.tiny_s3 import TinyS3, tiny_s3

KEY = "arn:aws:kms:us-east-1:123456789012:key/0b8f9c1e-0000-4000-8000-000000000000"
STEPS = ["endpoint", "put", "conditional_put", "head", "get", "multipart", "abort", "kms", "tags", "delete"]
GOOD = dict.fromkeys(STEPS)


@pytest.fixture
async def server() -> AsyncIterator[TinyS3]:
    async with tiny_s3() as serving:
        yield serving


@pytest.fixture
def full(server: TinyS3) -> BucketSpec:
    """A bucket of the server with everything that can be asked for."""
    return BucketSpec(
        "acme-renders",
        "us-east-1",
        AccessKey("key", "secret"),
        endpoint_url=server.url,
        encryption=Encryption("aws:kms", KEY, bucket_key=True),
        storage_class="STANDARD_IA",
        tags={"team": "acme"},
        acl="bucket-owner-full-control",
    )


def has(header: str) -> Any:
    return lambda request: header in request.headers


def lacks(header: str) -> Any:
    return lambda request: header not in request.headers


ENCRYPTION, TAGS, ACL = "x-amz-server-side-encryption", "x-amz-tagging", "x-amz-acl"


async def test_good_server_passes_and_keeps_nothing(buckets: Buckets, server: TinyS3, full: BucketSpec) -> None:
    assert outcomes(await check_bucket(buckets, full, "renders")) == GOOD
    assert (server.objects, server.uploads) == ({}, {})


@pytest.mark.parametrize(
    ("operation", "failed"),
    [
        ("PutObject", dict.fromkeys(STEPS[2:], "skipped") | {"put": "AccessDenied"}),
        ("HeadObject", {"head": "403"}),
        ("GetObject", {"get": "AccessDenied"}),
        ("CreateMultipartUpload", {"multipart": "AccessDenied", "abort": "skipped"}),
        ("UploadPart", {"multipart": "AccessDenied"}),
        ("CompleteMultipartUpload", {"multipart": "AccessDenied"}),
        ("AbortMultipartUpload", {"abort": "AccessDenied"}),
        ("DeleteObject", {"delete": "AccessDenied"}),
    ],
)
async def test_refused_operation_fails_one_step_and_skips_only_what_needs_it(
    buckets: Buckets, server: TinyS3, full: BucketSpec, operation: str, failed: dict[str, str]
) -> None:
    server.refuse(operation)
    assert outcomes(await check_bucket(buckets, full, "renders")) == {**GOOD, **failed}


@pytest.mark.parametrize(
    ("unknown", "step", "code"),
    [
        ("conditions", "conditional_put", "ConditionalWriteIgnored"),
        ("conditions of parts", "multipart", "ConditionalWriteIgnored"),
        ("metadata", "head", "MetadataLost"),
        ("encryption", "kms", "EncryptionIgnored"),
        ("tags", "tags", "TagsIgnored"),
    ],
)
async def test_server_that_ignores_something_fails_the_step_that_is_about_it(
    buckets: Buckets, server: TinyS3, full: BucketSpec, unknown: str, step: str, code: str
) -> None:
    server.unknown.add(unknown)
    found = outcomes(await check_bucket(buckets, full, ""))
    assert found[step] == code
    assert found["put"] is found["delete"] is None
    assert (server.objects, server.uploads) == ({}, {})


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ((400, "KMS.DisabledException", "The key is disabled."), "KMS.DisabledException"),
        ((400, "KMS.NotFoundException", "Invalid keyId"), "KMS.NotFoundException"),
        ((400, "KMS.KMSInvalidStateException", "The key is pending deletion."), "KMS.KMSInvalidStateException"),
        ((403, "AccessDenied", "User: x is not authorized to perform: kms:GenerateDataKey on this"), "AccessDenied"),
        ((403, "AccessDenied", "Access Denied"), "AccessDenied"),
    ],
)
async def test_refused_key_fails_the_encryptions_step_and_no_other(
    buckets: Buckets, server: TinyS3, full: BucketSpec, answer: tuple[int, str, str], code: str
) -> None:
    server.refuse("PutObject", *answer, when=has(ENCRYPTION))
    steps = await check_bucket(buckets, full, "renders")
    assert outcomes(steps) == {**GOOD, "kms": code}
    assert "kms:GenerateDataKey" in (told(steps, "kms").hint or "")
    assert server.objects == {}


async def test_refused_tags_fail_their_own_step(buckets: Buckets, server: TinyS3, full: BucketSpec) -> None:
    server.refuse("PutObject", when=has(TAGS))
    steps = await check_bucket(buckets, full, "renders")
    assert outcomes(steps) == {**GOOD, "tags": "AccessDenied"}
    assert "s3:PutObjectTagging" in (told(steps, "tags").hint or "")
    assert server.objects == {}


async def test_refused_acl_fails_the_write_but_hides_nothing_else(
    buckets: Buckets, server: TinyS3, full: BucketSpec
) -> None:
    server.refuse("PutObject", 400, "AccessControlListNotSupported", when=has(ACL))
    steps = await check_bucket(buckets, full, "renders")
    assert outcomes(steps) == {**GOOD, "put": "AccessControlListNotSupported"}
    assert "`acl`" in (told(steps, "put").message or "")
    assert server.objects == {}


async def test_several_refused_settings_are_told_at_once(buckets: Buckets, server: TinyS3, full: BucketSpec) -> None:
    server.refuse("PutObject", when=lambda request: TAGS in request.headers or ENCRYPTION in request.headers)
    found = outcomes(await check_bucket(buckets, full, "renders"))
    assert found == {**GOOD, "kms": "AccessDenied", "tags": "AccessDenied"}


async def test_setting_is_found_out_also_where_the_bucket_demands_another_one(
    buckets: Buckets, server: TinyS3, full: BucketSpec
) -> None:
    server.refuse("PutObject", when=lambda request: ENCRYPTION not in request.headers or TAGS in request.headers)
    assert outcomes(await check_bucket(buckets, full, "renders")) == {**GOOD, "tags": "AccessDenied"}


async def test_bucket_that_demands_encryption_refuses_the_write_without(
    buckets: Buckets, server: TinyS3, full: BucketSpec
) -> None:
    server.refuse("PutObject", when=lacks(ENCRYPTION))
    steps = await check_bucket(buckets, replace(full, encryption=None), "renders")
    assert told(steps, "put").code == "AccessDenied"
    assert outcomes(await check_bucket(buckets, full, "renders")) == GOOD


async def test_other_key_than_the_destinations_fails_the_encryptions_step(
    buckets: Buckets, server: TinyS3, full: BucketSpec
) -> None:
    for asked, code in (
        ("alias/renders", None),
        (KEY.rpartition("/")[2], None),
        (KEY[:-1] + "9", "OtherEncryptionKey"),
    ):
        steps = await _with_the_buckets_own_key(buckets, server, replace(full, encryption=Encryption("aws:kms", asked)))
        assert told(steps, "kms").code == code, asked


async def _with_the_buckets_own_key(buckets: Buckets, server: TinyS3, spec: BucketSpec) -> Any:
    head = server._HeadObject

    def with_own_key(*given: Any) -> web.Response:
        answer = head(*given)
        answer.headers["x-amz-server-side-encryption-aws-kms-key-id"] = KEY
        return answer

    server._HeadObject = with_own_key  # type: ignore[method-assign,assignment]
    steps = await check_bucket(buckets, spec, "")
    server._HeadObject = head  # type: ignore[method-assign]
    return steps


async def test_bucket_of_another_owner_is_told_from_a_missing_permission(
    buckets: Buckets, server: TinyS3, full: BucketSpec
) -> None:
    owned = replace(full, expected_bucket_owner="123456789012")
    server.rule = lambda _, request: (403, "AccessDenied") if "x-amz-expected-bucket-owner" in request.headers else None
    put = told(await check_bucket(buckets, owned, ""), "put")
    assert (put.code, "expected_bucket_owner" in (put.hint or "")) == ("AccessDenied", True)
    assert put.message == "the bucket does not belong to the AWS account 123456789012"
    assert server.asked.count("PutObject") == 1, "nothing is written into a stranger's bucket"
    server.rule = lambda *_: (403, "AccessDenied")
    assert "s3:PutObject" in (told(await check_bucket(buckets, owned, ""), "put").hint or "")


async def test_archived_object_is_well_and_says_that_it_can_not_be_read(
    buckets: Buckets, server: TinyS3, full: BucketSpec
) -> None:
    server.refuse("GetObject", 403, "InvalidObjectState")
    steps = await check_bucket(buckets, replace(full, storage_class="GLACIER"), "")
    assert outcomes(steps) == GOOD
    assert "restored" in (told(steps, "get").hint or "")


@pytest.mark.parametrize(
    ("operation", "step"),
    [
        ("CreateMultipartUpload", "multipart"),
        ("CompleteMultipartUpload", "multipart"),
        ("GetObject", "get"),
        ("GetObjectTagging", "tags"),
    ],
)
async def test_answer_that_can_not_be_read_fails_its_step(
    buckets: Buckets, server: TinyS3, full: BucketSpec, operation: str, step: str
) -> None:
    server.garbles = operation
    steps = await check_bucket(buckets, full, "")
    assert told(steps, step).code in {"destination_unavailable", "ContentChanged", "500"}
    assert "it is not here" not in str(steps)
    assert told(steps, "delete").ok
    assert (server.objects, server.uploads) == ({}, {})


@pytest.mark.parametrize("operation", ["PutObject", "GetObject", "CreateMultipartUpload", "CompleteMultipartUpload"])
async def test_canceled_check_leaves_nothing_behind(
    buckets: Buckets, server: TinyS3, full: BucketSpec, operation: str
) -> None:
    server.hangs_on = operation
    task = asyncio.create_task(check_bucket(buckets, full, "renders"))
    await server.hanging.wait()
    task.cancel()
    await asyncio.sleep(0)
    server.release.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert server.asked[-1] == "DeleteObject"
    assert (server.objects, server.uploads) == ({}, {})


async def test_server_that_hangs_ends_the_check_in_its_time(buckets: Buckets, server: TinyS3, full: BucketSpec) -> None:
    server.hangs_on = "GetObject"
    async with buckets.client(full):
        async with asyncio.timeout(20):
            steps = await check_bucket(buckets, full, "", altogether=2)
    found = outcomes(steps)
    assert found["get"] == "destination_unavailable"
    assert found["multipart"] == found["tags"] == "skipped"
    assert "time" in (told(steps, "multipart").message or "")
    assert found["delete"] is None
    assert server.objects == {}
