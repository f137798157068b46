"""Every request that we send names the bucket's owner where the destination does."""

from __future__ import annotations

from service.ids import new_uuid
from tests.engine.shaky import Shaky
from tests.faulty_s3 import CONFLICT, INTERNAL_ERROR, Cut, FaultyS3

OWNER = "123456789012"
HEADER = "x-amz-expected-bucket-owner"


def _check(proxy: FaultyS3, *expected: str) -> None:
    assert set(expected) <= set(proxy.operations())
    assert {request.operation for request in proxy.seen if request.headers.get(HEADER) != OWNER} == set()


async def test_every_request_of_a_copy_names_the_owner(shaky: Shaky) -> None:
    await shaky.settle_with(expected_bucket_owner=OWNER, manifest=True)
    shaky.proxy.inject(CONFLICT, "CompleteMultipartUpload")
    assert (await shaky.run("large"))["status"] == "succeeded"
    in_parts = ("CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload", "AbortMultipartUpload")
    _check(shaky.proxy, *in_parts, "HeadObject", "PutObject")


async def test_every_request_of_the_sweep_names_the_owner(shaky: Shaky) -> None:
    await shaky.settle_with(expected_bucket_owner=OWNER)
    shaky.proxy.inject(Cut("answer"), "CreateMultipartUpload", times=2)
    shaky.proxy.inject(INTERNAL_ERROR, "UploadPart", times=2)
    assert (await shaky.run("large"))["status"] == "succeeded"
    _check(shaky.proxy, "ListMultipartUploads", "AbortMultipartUpload")


async def test_reading_what_a_copy_of_the_job_needs_names_the_owner(shaky: Shaky) -> None:
    await shaky.settle_with(expected_bucket_owner=OWNER)
    job = await shaky.run("small")
    driven = shaky.driven
    await driven.sql("UPDATE outputs SET source_url = NULL, source_expires_at = NULL")
    await driven.sql("UPDATE jobs SET provider_task_id = $1", str(new_uuid()))
    shaky.proxy.forget()
    answer = await driven.client.post(f"/v1/jobs/{job['id']}/copy", json={"destination": "acme"})
    copied = await driven.drive(answer.json())
    assert copied["status"] == "succeeded", copied
    _check(shaky.proxy, "GetObject", "PutObject")
