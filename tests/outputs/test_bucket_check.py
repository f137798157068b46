"""The check of a bucket, against a real S3 server."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from service.demo.s3server import Identity, S3Server
from service.net import GuardPolicy
from service.outputs.bucket_check import Step, check_bucket
from service.outputs.s3_clients import Buckets
from service.outputs.spec import BucketSpec
from tests.listening import answering, http_answer, listening
from tests.outputs.conftest import spec_for

STEPS = ["endpoint", "put", "conditional_put", "head", "get", "delete"]


def outcomes(steps: list[Step]) -> dict[str, str | None]:
    assert [step.step for step in steps] == STEPS
    for step in steps:
        assert step.ok == (step.code is None)
        assert step.ok or step.message
    return {step.step: step.code for step in steps}


async def keys_in(buckets: Buckets, spec: BucketSpec) -> list[str]:
    async with buckets.client(spec) as s3:
        return [each["Key"] for each in (await s3.list_objects_v2(Bucket=spec.bucket)).get("Contents", [])]


@pytest.mark.parametrize("prefix", ["", "/", "//renders//a/"])
async def test_good_bucket_passes_every_step_and_is_left_empty(buckets: Buckets, spec: BucketSpec, prefix: str) -> None:
    assert set(outcomes(await check_bucket(buckets, spec, prefix)).values()) == {None}
    assert await keys_in(buckets, spec) == []


async def test_denied_write_names_the_servers_code_and_skips_the_rest(
    buckets: Buckets, s3_server: S3Server, bucket: str
) -> None:
    for who, code in (
        (s3_server.reader, "AccessDenied"),
        (Identity(s3_server.admin.access_key_id, "wrong"), "SignatureDoesNotMatch"),
        (Identity("nobody", "wrong"), "InvalidAccessKeyId"),
    ):
        steps = await check_bucket(buckets, spec_for(s3_server, bucket, who), "renders")
        assert outcomes(steps) == {"endpoint": None, "put": code} | dict.fromkeys(STEPS[2:], "skipped")
        assert steps[1].hint


async def test_missing_bucket_is_told(buckets: Buckets, spec: BucketSpec) -> None:
    steps = await check_bucket(buckets, replace(spec, bucket="not-there-at-all"), "")
    assert outcomes(steps)["put"] == "NoSuchBucket"


async def test_probe_is_deleted_although_a_later_step_failed(
    buckets: Buckets, s3_server: S3Server, bucket: str
) -> None:
    steps = await check_bucket(buckets, spec_for(s3_server, bucket, s3_server.writer), "renders")
    assert outcomes(steps) == {
        "endpoint": None,
        "put": None,
        "conditional_put": "AccessDenied",
        "head": "skipped",
        "get": "skipped",
        "delete": None,
    }
    assert await keys_in(buckets, spec_for(s3_server, bucket)) == []


async def test_endpoint_that_the_guard_refuses_fails_the_first_step(spec: BucketSpec) -> None:
    closed = Buckets(GuardPolicy())
    for endpoint in (spec.endpoint_url, "https://localhost:8443", "https://user@example.com", "ftp://example.com"):
        steps = await check_bucket(closed, replace(spec, endpoint_url=endpoint), "")
        assert outcomes(steps) == {"endpoint": "destination_denied"} | dict.fromkeys(STEPS[1:], "skipped")
    await closed.aclose()


async def test_region_that_can_not_be_one_fails_the_first_step(buckets: Buckets, spec: BucketSpec) -> None:
    steps = await check_bucket(buckets, replace(spec, endpoint_url=None, region="evil.example/#"), "")
    assert not any(step.ok for step in steps[1:])


async def test_server_without_conditional_writes_is_found_out(buckets: Buckets, spec: BucketSpec) -> None:
    async with listening(answering(http_answer(200))) as listener:
        there = replace(spec, endpoint_url=f"http://127.0.0.1:{listener.port}")
        assert outcomes(await check_bucket(buckets, there, "")) == {
            "endpoint": None,
            "put": None,
            "conditional_put": "ConditionalWriteIgnored",
            "head": "skipped",
            "get": "skipped",
            "delete": None,
        }
    assert [request.split()[0] for request in listener.requests] == [b"PUT", b"PUT", b"DELETE"]


async def test_probe_that_may_have_been_written_is_deleted_too(buckets: Buckets, spec: BucketSpec) -> None:
    async def hang_up_on_writes(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if listener.requests[-1].startswith(b"DELETE"):
            writer.write(http_answer(204))

    async with listening(hang_up_on_writes) as listener:
        there = replace(spec, endpoint_url=f"http://127.0.0.1:{listener.port}")
        found = outcomes(await check_bucket(buckets, there, ""))
    assert (found["put"], found["delete"]) == ("destination_unavailable", "skipped")
    assert listener.requests[-1].startswith(b"DELETE")


async def test_delete_that_is_denied_names_the_probe_that_stays(buckets: Buckets, spec: BucketSpec) -> None:
    async def refuse_deletes(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        is_delete = listener.requests[-1].startswith(b"DELETE")
        writer.write(http_answer(403, b"<Error><Code>AccessDenied</Code></Error>") if is_delete else http_answer(200))

    async with listening(refuse_deletes) as listener:
        there = replace(spec, endpoint_url=f"http://127.0.0.1:{listener.port}")
        steps = await check_bucket(buckets, there, "renders")
    assert steps[-1].code == "AccessDenied"
    assert "renders/genrelay-probe-" in (steps[-1].hint or "")
