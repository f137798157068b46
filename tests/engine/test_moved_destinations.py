"""A destination that has got another bucket, region or endpoint: what was put somewhere is looked for there."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import pytest

from service.aws.auth import AccessKey
from service.demo.s3server import S3Server
from service.engine.uploads import sweep_uploads
from service.outputs.spec import BucketSpec
from tests.engine.driven import Driven
from tests.engine.large import LARGE, abort_all, copying_from, large_world, open_uploads
from tests.faulty_s3 import ACCESS_DENIED, INTERNAL_ERROR, Cut, Error, FaultyS3
from tests.outputs.flowing import Source, flowing
from tests.outputs.tiny_s3 import TinyS3, tiny_s3
from tests.world import destination

MOVED = Error(301, "PermanentRedirect")


@pytest.fixture
async def driven(database_url: str, s3_server: S3Server, bucket: str, without_pauses: None) -> AsyncIterator[Driven]:
    """A world that writes in parts whatever has more than 64 KiB."""
    async with large_world(database_url, s3_server, bucket) as running:
        yield running


@pytest.fixture
async def elsewhere() -> AsyncIterator[TinyS3]:
    """An S3 server that knows nothing of the real one's objects."""
    async with tiny_s3() as server:
        yield server


async def _put(driven: Driven, bucket: str, endpoint_url: str, **more: Any) -> None:
    body = destination(driven.s3, bucket, endpoint_url=endpoint_url, **more)
    answer = await driven.client.put("/v1/destinations/acme?check=false", json=body)
    assert answer.is_success, answer.text


async def _refused(driven: Driven) -> dict[str, Any]:
    """Return a job whose output is fixed, and whose bucket has refused the write."""
    job = await driven.drive(await driven.copying())
    assert (job["status"], job["error"]["code"]) == ("failed", "destination_denied"), job
    assert job["outputs"][0]["status"] == "writing"
    return job


async def _again(driven: Driven, job: dict[str, Any]) -> dict[str, Any]:
    answer = await driven.retry(job)
    assert answer.status_code == 202, answer.text
    return await driven.drive(answer.json())


# --- Fixed, refused, and then the destination is corrected ------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 400, 403, 404, 500, 503])
async def test_what_a_wrong_bucket_refused_is_stored_in_the_right_one(
    driven: Driven, elsewhere: TinyS3, faulty_s3: FaultyS3, status: int
) -> None:
    elsewhere.rule = lambda asked, _: (403, "AccessDenied") if asked == "PutObject" else (status, "Told")
    await _put(driven, "the-old-bucket", elsewhere.url, region="eu-west-3")
    job = await _refused(driven)
    await _put(driven, driven.bucket, faulty_s3.endpoint_url)
    # What the new endpoint says of a bucket that it has not got.
    faulty_s3.inject(MOVED, "HeadObject", times=None)
    job = await _again(driven, job)
    assert (job["status"], job["outputs"][0]["bucket"]) == ("succeeded", driven.bucket), job
    assert driven.keys() == [job["outputs"][0]["key"]]
    assert (elsewhere.asked[1], faulty_s3.operations()) == ("HeadObject", ["PutObject"])


async def test_what_was_refused_by_a_server_that_is_gone_is_stored_in_the_new_bucket(driven: Driven) -> None:
    async with tiny_s3() as gone:
        gone.refuse("PutObject")
        await _put(driven, "the-old-bucket", gone.url)
        job = await _refused(driven)
    await _put(driven, driven.bucket, driven.s3.endpoint_url)
    job = await _again(driven, job)
    assert (job["status"], driven.keys()) == ("succeeded", [job["outputs"][0]["key"]])


async def test_a_corrected_region_lets_the_output_be_stored_in_the_same_bucket(
    driven: Driven, faulty_s3: FaultyS3
) -> None:
    faulty_s3.inject(MOVED, "PutObject")
    faulty_s3.inject(Error(400, "AuthorizationHeaderMalformed"), "HeadObject", times=None)
    await _put(driven, driven.bucket, faulty_s3.endpoint_url, region="eu-west-3")
    job = await _refused(driven)
    await _put(driven, driven.bucket, faulty_s3.endpoint_url, region="eu-north-1")
    job = await _again(driven, job)
    assert (job["status"], driven.keys()) == ("succeeded", [job["outputs"][0]["key"]])
    regions = [seen.headers["authorization"].split("/")[2] for seen in faulty_s3.seen]
    assert regions == ["eu-west-3", "eu-west-3", "eu-north-1"]


async def test_a_place_that_is_still_the_destinations_own_must_answer(driven: Driven, faulty_s3: FaultyS3) -> None:
    await _put(driven, driven.bucket, faulty_s3.endpoint_url)
    faulty_s3.inject(ACCESS_DENIED, "PutObject")
    job = await _refused(driven)
    await _put(driven, driven.bucket, faulty_s3.endpoint_url, storage_class="STANDARD_IA")
    faulty_s3.inject(MOVED, "HeadObject", times=None)
    job = await _again(driven, job)
    assert (job["error"]["code"], driven.keys()) == ("destination_denied", [])


async def test_what_has_arrived_after_all_is_listed_where_it_is(
    driven: Driven, elsewhere: TinyS3, faulty_s3: FaultyS3
) -> None:
    await _put(driven, driven.bucket, faulty_s3.endpoint_url)
    faulty_s3.inject(Error(403, "AccessDenied", done=True), "PutObject")
    job = await _refused(driven)
    await _put(driven, "the-new-bucket", elsewhere.url, region="eu-west-3", expected_bucket_owner="123456789012")
    job = await _again(driven, job)
    assert (job["status"], job["outputs"][0]["bucket"]) == ("succeeded", driven.bucket)
    assert (elsewhere.asked, faulty_s3.operations()) == ([], ["PutObject", "HeadObject"])
    # The owner is the new bucket's.
    assert "x-amz-expected-bucket-owner" not in faulty_s3.seen[-1].headers


# --- Stored, and then the destination moves ---------------------------------------------------------------------------


async def _stored(driven: Driven) -> dict[str, Any]:
    job = await driven.drive(await driven.copying())
    assert job["status"] == "succeeded", job
    return job


async def test_a_link_leads_to_the_endpoint_and_region_where_the_output_was_put(
    driven: Driven, elsewhere: TinyS3
) -> None:
    job = await _stored(driven)
    await _put(driven, "the-new-bucket", elsewhere.url, region="eu-west-3")
    assert (await driven.job(job))["outputs"] == job["outputs"]
    link = urlsplit((await driven.client.get(f"/v1/jobs/{job['id']}/outputs/0")).headers["location"])
    assert f"{link.scheme}://{link.netloc}" == driven.s3.endpoint_url
    assert parse_qs(link.query)["X-Amz-Credential"][0].split("/")[2] == driven.s3.region


async def test_a_copy_reads_what_is_stored_from_where_it_was_put(driven: Driven, elsewhere: TinyS3) -> None:
    job = await _stored(driven)
    other = f"test-{uuid4().hex}"
    driven.s3.create_bucket(other)
    answer = await driven.client.put("/v1/destinations/other", json=destination(driven.s3, other))
    assert answer.is_success, answer.text
    await _put(driven, "the-new-bucket", elsewhere.url, region="eu-west-3")
    driven.sandbox.now = lambda: time.time() + 7200  # the provider's URLs are over
    answer = await driven.client.post(f"/v1/jobs/{job['id']}/copy", json={"destination": "other"})
    copied = await driven.drive(answer.json())
    assert copied["status"] == "succeeded", copied
    assert copied["outputs"][0]["sha256"] == job["outputs"][0]["sha256"]
    assert elsewhere.asked == []
    driven.s3.empty_bucket(other)


# --- An upload is left open, and then the destination moves -----------------------------------------------------------


async def test_the_sweep_aborts_an_upload_where_it_was_begun(
    driven: Driven, elsewhere: TinyS3, faulty_s3: FaultyS3
) -> None:
    await _put(driven, driven.bucket, faulty_s3.endpoint_url)
    faulty_s3.inject(ACCESS_DENIED, "UploadPart", times=None)
    faulty_s3.inject(INTERNAL_ERROR, "AbortMultipartUpload", times=None)
    async with flowing(Source(LARGE)) as source:
        job = await driven.drive(await copying_from(driven, source))
    assert (job["error"]["code"], len(open_uploads(driven))) == ("destination_denied", 1)
    await _move_and_sweep(driven, elsewhere, faulty_s3)


@pytest.mark.parametrize("unanswered", [1, 2])
async def test_the_sweep_looks_for_uploads_without_a_name_where_they_were_begun(
    driven: Driven, elsewhere: TinyS3, faulty_s3: FaultyS3, unanswered: int
) -> None:
    """No answer came; or one to the second of two requests, so that there may be an upload more."""
    await _put(driven, driven.bucket, faulty_s3.endpoint_url)
    faulty_s3.inject(Cut("answer"), "CreateMultipartUpload", times=unanswered)
    async with flowing(Source(LARGE)) as source:
        await driven.drive(await copying_from(driven, source))
    assert len(open_uploads(driven)) == unanswered
    await _move_and_sweep(driven, elsewhere, faulty_s3)


async def _move_and_sweep(driven: Driven, elsewhere: TinyS3, faulty_s3: FaultyS3) -> None:
    rows = await driven.sql("SELECT region, endpoint_url FROM uploads")
    assert {tuple(row) for row in rows} == {(driven.s3.region, faulty_s3.endpoint_url)}
    faulty_s3.forget()
    await _put(driven, "the-new-bucket", elsewhere.url, region="eu-west-3")
    await driven.sql("UPDATE uploads SET due_at = now()")
    try:
        await sweep_uploads(driven.context)
        assert (open_uploads(driven), await driven.sql("SELECT FROM uploads"), elsewhere.asked) == ([], [], [])
    finally:
        await abort_all(driven)


# --- The place itself -------------------------------------------------------------------------------------------------


def test_a_place_elsewhere_keeps_the_credentials_and_nothing_that_is_said_of_the_present_bucket() -> None:
    key = AccessKey("id", "secret")
    now = BucketSpec(
        "new", "eu-west-3", key, "https://s3.new.example", expected_bucket_owner="123456789012", tags={"a": "b"}
    )
    assert now.at("old", "eu-west-1", None) == BucketSpec("old", "eu-west-1", key, None)
    # Rows of older versions know the bucket at most.
    assert now.at("old", None, None) == BucketSpec("old", "eu-west-3", key, "https://s3.new.example")
    assert now.at(None, None, None) is now.at("new", "eu-west-3", "https://s3.new.example") is now
