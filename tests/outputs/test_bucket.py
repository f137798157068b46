"""Writing outputs into buckets of a real S3 server."""

from __future__ import annotations

import asyncio
import hashlib
import os
from dataclasses import replace

import httpx
import pytest

from service.aws.auth import AccessKey
from service.demo.s3server import Identity, S3Server
from service.outputs.bucket import S3, Stored, find_ours, put_once, signed_url
from service.outputs.errors import DestinationConflict, DestinationDenied, DestinationUnavailable
from service.outputs.formats import Body
from service.outputs.s3_clients import Buckets
from service.outputs.spec import BucketSpec, Encryption
from tests.listening import WRITTEN, answering, http_answer, listening
from tests.outputs.conftest import spec_for

BODY = b"a lighthouse at dawn" * 100


def digest(body: Body) -> bytes:
    return hashlib.sha256(body).digest()


async def put(s3: S3, spec: BucketSpec, key: str, body: Body = BODY) -> Stored:
    return await put_once(
        s3, spec, key, body, sha256=digest(body), media_type="image/png", metadata={"job-id": "job_1", "output": "0"}
    )


async def read(s3: S3, spec: BucketSpec, key: str) -> bytes:
    answer = await s3.get_object(Bucket=spec.bucket, Key=key)
    async with answer["Body"] as stream:
        body: bytes = await stream.read()
    return body


async def test_object_is_stored_with_its_type_digest_and_metadata(buckets: Buckets, spec: BucketSpec) -> None:
    async with buckets.client(spec) as s3:
        assert await put(s3, spec, "a/00.png") == Stored(already=False)
        head = await s3.head_object(Bucket=spec.bucket, Key="a/00.png")
        assert await read(s3, spec, "a/00.png") == BODY
    assert head["ContentType"] == "image/png"
    assert head["Metadata"] == {"job-id": "job_1", "output": "0", "sha256": digest(BODY).hex()}


async def test_large_body_arrives_unchanged(buckets: Buckets, spec: BucketSpec) -> None:
    body = bytearray(os.urandom(5 * 2**20 + 17))
    async with buckets.client(spec) as s3:
        assert not (await put(s3, spec, "large", body)).already
        assert await read(s3, spec, "large") == body
    body += b"free again"  # raises BufferError while anybody holds a view


async def test_second_write_of_the_same_content_finds_it_stored(buckets: Buckets, spec: BucketSpec) -> None:
    async with buckets.client(spec) as s3:
        await put(s3, spec, "twice")
        assert await put(s3, spec, "twice") == Stored(already=True)


async def test_something_else_under_the_key_is_a_conflict_and_left_alone(buckets: Buckets, spec: BucketSpec) -> None:
    async with buckets.client(spec) as s3:
        await s3.put_object(Bucket=spec.bucket, Key="theirs", Body=b"theirs")
        with pytest.raises(DestinationConflict) as conflict:
            await put(s3, spec, "theirs")
        assert await read(s3, spec, "theirs") == b"theirs"
    assert conflict.value.as_job_error().as_json()["code"] == "destination_conflict"


async def test_same_size_is_not_enough_to_be_ours(buckets: Buckets, spec: BucketSpec) -> None:
    async with buckets.client(spec) as s3:
        await put(s3, spec, "same-size", BODY[::-1])
        with pytest.raises(DestinationConflict):
            await put(s3, spec, "same-size")
        await s3.put_object(Bucket=spec.bucket, Key="bare", Body=BODY[::-1])
        with pytest.raises(DestinationConflict):
            await put(s3, spec, "bare")


async def test_of_several_writers_at_once_one_writes(buckets: Buckets, spec: BucketSpec) -> None:
    same = [BODY, BODY]
    different = [BODY + b"1", BODY + b"2"]
    async with buckets.client(spec) as s3:
        outcomes = await asyncio.gather(
            *(put(s3, spec, "same", body) for body in same),
            *(put(s3, spec, "different", body) for body in different),
            return_exceptions=True,
        )
        stored = await read(s3, spec, "different")
    assert sorted(map(str, outcomes[:2])) == ["Stored(already=False)", "Stored(already=True)"]
    assert outcomes[2 + different.index(stored)] == Stored(already=False)
    assert isinstance(outcomes[3 - different.index(stored)], DestinationConflict)


async def test_wrong_digest_is_caught_by_the_server_and_nothing_is_stored(buckets: Buckets, spec: BucketSpec) -> None:
    async with buckets.client(spec) as s3:
        with pytest.raises(DestinationUnavailable) as damaged:
            await put_once(s3, spec, "damaged", BODY, sha256=digest(b"other"), media_type="image/png", metadata={})
        assert damaged.value.s3_code == "BadDigest"
        assert await find_ours(s3, spec, "damaged", sha256=digest(BODY), size=len(BODY)) is None


async def test_look_tells_ours_from_others_and_from_none(buckets: Buckets, spec: BucketSpec) -> None:
    async with buckets.client(spec) as s3:
        await put(s3, spec, "here")
        assert await find_ours(s3, spec, "here", sha256=digest(BODY), size=len(BODY)) is True
        assert await find_ours(s3, spec, "here", sha256=digest(b"other"), size=len(BODY)) is False
        assert await find_ours(s3, spec, "here", sha256=digest(BODY), size=1) is False
        assert await find_ours(s3, spec, "absent", sha256=digest(BODY), size=1) is None


async def test_tags_of_the_destination_are_set(buckets: Buckets, spec: BucketSpec) -> None:
    spec = replace(spec, tags={"team": "renders & more", "a": "b"})
    async with buckets.client(spec) as s3:
        await put(s3, spec, "tagged")
        tags = await s3.get_object_tagging(Bucket=spec.bucket, Key="tagged")
    assert {tag["Key"]: tag["Value"] for tag in tags["TagSet"]} == spec.tags


async def test_setting_that_the_server_does_not_take_is_denied(buckets: Buckets, spec: BucketSpec) -> None:
    assert (await denial(buckets, replace(spec, storage_class="NONSENSE"))).s3_code == "InvalidStorageClass"


def test_every_setting_of_a_destination_reaches_s3() -> None:
    spec = BucketSpec(
        "bucket",
        "eu-central-1",
        AccessKey("id", "secret"),
        expected_bucket_owner="123456789012",
        encryption=Encryption("aws:kms", "key", bucket_key=True),
        storage_class="STANDARD_IA",
        tags={"a": "b c"},
        acl="bucket-owner-full-control",
    )
    assert spec.place("k") == {"Bucket": "bucket", "Key": "k", "ExpectedBucketOwner": "123456789012"}
    assert spec.write_settings() == {
        "ServerSideEncryption": "aws:kms",
        "SSEKMSKeyId": "key",
        "BucketKeyEnabled": True,
        "StorageClass": "STANDARD_IA",
        "Tagging": "a=b+c",
        "ACL": "bucket-owner-full-control",
    }
    assert BucketSpec("bucket", "eu-central-1", AccessKey("id", "secret")).write_settings() == {}
    assert "secret" not in repr(spec)


async def test_signed_url_reads_the_object_and_nothing_else(buckets: Buckets, spec: BucketSpec) -> None:
    async with buckets.client(spec) as s3, httpx.AsyncClient(trust_env=False) as anybody:
        await put(s3, spec, "signed")
        await put(s3, spec, "other")
        url = await signed_url(s3, spec, "signed", 60)
        assert (await anybody.get(url)).content == BODY
        assert (await anybody.get(url.replace("/signed?", "/other?"))).status_code == 403
        assert (await anybody.get(url.partition("?")[0])).status_code == 403
    assert "X-Amz-Expires=60" in url
    assert spec.auth.secret_access_key not in url


# --- What the server refuses ----------------------------------------------------------------------------------------


async def denial(buckets: Buckets, spec: BucketSpec) -> DestinationDenied:
    async with buckets.client(spec) as s3:
        with pytest.raises(DestinationDenied) as denied:
            await put(s3, spec, "denied")
    assert denied.value.final
    assert spec.auth.secret_access_key not in f"{denied.value} {denied.value.hint} {denied.value!r}"
    return denied.value


async def test_wrong_credentials_are_denied_with_the_servers_own_code(
    buckets: Buckets, s3_server: S3Server, bucket: str
) -> None:
    wrong_secret = Identity(s3_server.admin.access_key_id, "wrong" * 8)
    assert (await denial(buckets, spec_for(s3_server, bucket, wrong_secret))).s3_code == "SignatureDoesNotMatch"
    stranger = Identity("nobody", "wrong" * 8)
    assert (await denial(buckets, spec_for(s3_server, bucket, stranger))).s3_code == "InvalidAccessKeyId"


async def test_missing_permission_is_denied_with_a_hint(buckets: Buckets, s3_server: S3Server, bucket: str) -> None:
    denied = await denial(buckets, spec_for(s3_server, bucket, s3_server.reader))
    assert denied.s3_code == "AccessDenied"
    assert "s3:PutObject" in denied.hint


async def test_missing_bucket_is_denied(buckets: Buckets, spec: BucketSpec) -> None:
    assert (await denial(buckets, replace(spec, bucket="not-there-at-all"))).s3_code == "NoSuchBucket"


async def test_description_that_botocore_does_not_take_is_denied(buckets: Buckets, spec: BucketSpec) -> None:
    await denial(buckets, replace(spec, bucket="not a bucket name!"))
    with pytest.raises(DestinationDenied):
        async with buckets.client(replace(spec, region="evil.example/#", endpoint_url=None)) as s3:
            await put(s3, spec, "x")


async def test_retry_without_permission_to_look_says_so(buckets: Buckets, s3_server: S3Server, bucket: str) -> None:
    writer = spec_for(s3_server, bucket, s3_server.writer)
    async with buckets.client(writer) as s3:
        assert not (await put(s3, writer, "blind")).already
        with pytest.raises(DestinationDenied) as denied:
            await put(s3, writer, "blind")
    assert "s3:GetObject" in denied.value.hint


async def test_kms_trouble_of_this_server_is_passing(buckets: Buckets, spec: BucketSpec) -> None:
    spec = replace(spec, encryption=Encryption("aws:kms", "no-such-key"))
    async with buckets.client(spec) as s3:
        with pytest.raises(DestinationUnavailable) as unavailable:
            await put(s3, spec, "kms")
    assert not unavailable.value.final


# --- What a server may answer that this one never does --------------------------------------------------------------


def s3_error(status: int, code: str, *headers: str) -> bytes:
    return http_answer(status, f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode(), *headers)


def one_by_one(*answers: bytes) -> object:
    """Answer each new connection with the next of these, the last one for ever."""
    left = list(answers)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await answering(left.pop(0) if len(left) > 1 else left[0])(reader, writer)

    return answer


async def test_conditional_conflict_is_tried_again_from_the_start(buckets: Buckets, spec: BucketSpec) -> None:
    conflict = s3_error(409, "ConditionalRequestConflict")
    async with listening(one_by_one(conflict, http_answer(404), WRITTEN)) as listener:  # type: ignore[arg-type]
        there = replace(spec, endpoint_url=f"http://127.0.0.1:{listener.port}")
        async with buckets.client(there) as s3:
            assert await put(s3, there, "x") == Stored(already=False)
    assert [request.split()[0] for request in listener.requests] == [b"PUT", b"HEAD", b"PUT"]


async def test_absent_object_that_may_not_be_looked_at_after_a_conflict_is_written(
    buckets: Buckets, spec: BucketSpec
) -> None:
    """Who may not list a bucket hears 403 of an object that is not there."""
    conflict = s3_error(409, "ConditionalRequestConflict")
    async with listening(one_by_one(conflict, http_answer(403), WRITTEN)) as listener:  # type: ignore[arg-type]
        there = replace(spec, endpoint_url=f"http://127.0.0.1:{listener.port}")
        async with buckets.client(there) as s3:
            assert await put(s3, there, "x") == Stored(already=False)
    assert [request.split()[0] for request in listener.requests] == [b"PUT", b"HEAD", b"PUT"]


async def test_conditional_conflict_that_stays_is_a_passing_trouble(buckets: Buckets, spec: BucketSpec) -> None:
    async def conflict(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        is_put = listener.requests[-1].startswith(b"PUT")
        writer.write(s3_error(409, "ConditionalRequestConflict") if is_put else http_answer(404))

    async with listening(conflict) as listener:
        there = replace(spec, endpoint_url=f"http://127.0.0.1:{listener.port}")
        async with buckets.client(there) as s3:
            with pytest.raises(DestinationUnavailable):
                await put(s3, there, "x")
    assert len(listener.requests) == 8


async def test_small_write_is_one_request_without_waiting_for_100_continue(buckets: Buckets, spec: BucketSpec) -> None:
    async with listening(answering(WRITTEN)) as listener:
        there = replace(spec, endpoint_url=f"http://127.0.0.1:{listener.port}")
        async with buckets.client(there) as s3:
            await put(s3, there, "x")
    (request,) = [request.lower() for request in listener.requests]
    assert b"\r\nexpect:" not in request
    assert b"\r\nif-none-match: *\r\n" in request
    assert b"\r\nx-amz-content-sha256: unsigned-payload\r\n" in request
    signed = request.split(b"signedheaders=")[1].split(b",")[0]
    assert b"x-amz-checksum-sha256" in signed  # so that nobody can change the body although it is not signed


async def test_wrong_region_is_denied_after_one_request_and_names_the_right_one(
    buckets: Buckets, spec: BucketSpec
) -> None:
    moved = s3_error(301, "PermanentRedirect", "x-amz-bucket-region: eu-west-3")
    async with listening(answering(moved)) as listener:
        denied = await denial(buckets, replace(spec, endpoint_url=f"http://127.0.0.1:{listener.port}"))
    assert denied.s3_code == "PermanentRedirect"
    assert "eu-west-3" in denied.hint
    assert listener.connections == 1


async def test_answer_that_never_comes_whole_is_a_passing_trouble(buckets: Buckets, spec: BucketSpec) -> None:
    for broken in (
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
        b"nonsense\r\n\r\n",
        s3_error(503, "SlowDown"),
    ):
        async with listening(answering(broken)) as listener:
            there = replace(spec, endpoint_url=f"http://127.0.0.1:{listener.port}")
            async with buckets.client(there) as s3:
                with pytest.raises(DestinationUnavailable):
                    await put(s3, there, "x")
        assert len(listener.requests) >= 2
