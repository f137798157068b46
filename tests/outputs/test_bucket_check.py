"""The check of a bucket, against a real S3 server."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from service.demo.s3server import Identity, S3Server
from service.net import GuardPolicy
from service.outputs.bucket_check import check_bucket
from service.outputs.s3_clients import Buckets
from service.outputs.spec import BucketSpec, Encryption
from service.outputs.steps import Step
from tests.listening import WRITTEN, answering, http_answer, listening
from tests.outputs.conftest import spec_for

STEPS = ["endpoint", "put", "conditional_put", "head", "get", "multipart", "abort", "delete"]
SKIPPED_WITHOUT_PUT = dict.fromkeys(STEPS[2:], "skipped")


def outcomes(steps: list[Step]) -> dict[str, str | None]:
    for step in steps:
        assert step.ok == (step.code is None)
        assert step.ok or step.message
        assert step.ok or step.code == "skipped" or step.hint, step
    return {step.step: step.code for step in steps}


def told(steps: list[Step], name: str) -> Step:
    return next(step for step in steps if step.step == name)


async def left_in(buckets: Buckets, spec: BucketSpec) -> list[str]:
    """Return the keys of what is stored and of the uploads that are open."""
    async with buckets.client(spec) as s3:
        objects = (await s3.list_objects_v2(Bucket=spec.bucket)).get("Contents", [])
        uploads = (await s3.list_multipart_uploads(Bucket=spec.bucket)).get("Uploads", [])
    return [each["Key"] for each in [*objects, *uploads]]


@pytest.mark.parametrize("prefix", ["", "/", "//renders//a/"])
async def test_good_bucket_passes_every_step_and_is_left_empty(buckets: Buckets, spec: BucketSpec, prefix: str) -> None:
    assert outcomes(await check_bucket(buckets, spec, prefix)) == dict.fromkeys(STEPS)
    assert await left_in(buckets, spec) == []


async def test_tags_are_compared_with_what_the_server_keeps(buckets: Buckets, spec: BucketSpec) -> None:
    tagged = replace(spec, tags={"team": "acme renders", "cost/center": "42"})
    assert outcomes(await check_bucket(buckets, tagged, "")) == dict.fromkeys([*STEPS, "tags"])
    assert await left_in(buckets, spec) == []


async def test_denied_write_names_the_servers_code_and_skips_the_rest(
    buckets: Buckets, s3_server: S3Server, bucket: str
) -> None:
    for who, code in (
        (s3_server.reader, "AccessDenied"),
        (Identity(s3_server.admin.access_key_id, "wrong"), "SignatureDoesNotMatch"),
        (Identity("nobody", "wrong"), "InvalidAccessKeyId"),
    ):
        steps = await check_bucket(buckets, spec_for(s3_server, bucket, who), "renders")
        assert outcomes(steps) == {"endpoint": None, "put": code, **SKIPPED_WITHOUT_PUT}


async def test_missing_bucket_is_told(buckets: Buckets, spec: BucketSpec) -> None:
    steps = await check_bucket(buckets, replace(spec, bucket="not-there-at-all"), "")
    assert outcomes(steps)["put"] == "NoSuchBucket"


async def test_who_may_only_write_is_told_of_both_ways_of_reading_and_of_nothing_else(
    buckets: Buckets, s3_server: S3Server, bucket: str
) -> None:
    steps = await check_bucket(buckets, spec_for(s3_server, bucket, s3_server.writer), "renders")
    assert outcomes(steps) == {**dict.fromkeys(STEPS), "head": "403", "get": "AccessDenied"}
    assert all("s3:GetObject" in (told(steps, name).hint or "") for name in ("head", "get"))
    assert await left_in(buckets, spec_for(s3_server, bucket)) == []


async def test_encryption_that_the_server_can_not_do_is_told_apart_from_writing(
    buckets: Buckets, spec: BucketSpec
) -> None:
    steps = await check_bucket(buckets, replace(spec, encryption=Encryption("aws:kms", "alias/no-such-key")), "")
    found = outcomes(steps)
    assert found.pop("kms") not in {None, "skipped"}
    assert found == dict.fromkeys(STEPS)
    assert "KMS key" in (told(steps, "kms").hint or "")
    assert await left_in(buckets, spec) == []


async def test_endpoint_that_the_guard_refuses_fails_the_first_step(spec: BucketSpec) -> None:
    closed = Buckets(GuardPolicy())
    for endpoint in (spec.endpoint_url, "https://localhost:8443", "https://user@example.com", "ftp://example.com"):
        steps = await check_bucket(closed, replace(spec, endpoint_url=endpoint), "")
        assert outcomes(steps) == {"endpoint": "destination_denied"} | dict.fromkeys(STEPS[1:], "skipped")
    await closed.aclose()


async def test_region_that_can_not_be_one_fails_the_first_step(buckets: Buckets, spec: BucketSpec) -> None:
    steps = await check_bucket(buckets, replace(spec, endpoint_url=None, region="evil.example/#"), "")
    assert not any(step.ok for step in steps[1:])


async def test_server_that_takes_everything_is_found_out(buckets: Buckets, spec: BucketSpec) -> None:
    async with listening(answering(WRITTEN)) as listener:
        there = replace(spec, endpoint_url=f"http://127.0.0.1:{listener.port}")
        found = outcomes(await check_bucket(buckets, there, ""))
    assert found["put"] is None
    assert found["conditional_put"] == "ConditionalWriteIgnored"
    assert found["head"] == "MetadataLost"
    assert found["get"] == "ContentChanged"
    assert listener.requests[-1].startswith(b"DELETE")


async def test_probe_that_may_have_been_written_is_deleted_too(buckets: Buckets, spec: BucketSpec) -> None:
    async def hang_up_on_writes(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if listener.requests[-1].startswith(b"DELETE"):
            writer.write(http_answer(204))

    async with listening(hang_up_on_writes) as listener:
        there = replace(spec, endpoint_url=f"http://127.0.0.1:{listener.port}")
        found = outcomes(await check_bucket(buckets, there, ""))
    assert (found["put"], found["delete"]) == ("destination_unavailable", "skipped")
    assert listener.requests[-1].startswith(b"DELETE")
