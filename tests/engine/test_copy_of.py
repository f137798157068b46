"""A copy of a job: its outputs in another destination too, without asking or paying the provider again."""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest

from service.db.sql import queries
from service.demo.s3server import S3Server
from service.outputs.destinations import read_target
from tests.engine.driven import Driven, driven_world, uuid
from tests.engine.test_calls import seedream
from tests.faulty_s3 import ACCESS_DENIED, SLOW_DOWN, FaultyS3
from tests.world import destination, txt2img

OTHER = "copies"  # the path of the destination that copies go to


@pytest.fixture
async def other(driven: Driven) -> AsyncIterator[str]:
    """A second destination of the account, in a bucket of its own."""
    bucket = f"test-{uuid4().hex}"
    driven.s3.create_bucket(bucket)
    answer = await driven.client.put("/v1/destinations/other", json=destination(driven.s3, bucket, path=OTHER))
    assert answer.status_code == 201, answer.text
    yield bucket
    driven.s3.empty_bucket(bucket)


async def _copy_of(driven: Driven, job: dict[str, Any], to: str = "other", **more: Any) -> dict[str, Any]:
    answer = await driven.client.post(f"/v1/jobs/{job['id']}/copy", json={"destination": to, **more})
    assert answer.status_code == 202, answer.text
    copied: dict[str, Any] = answer.json()
    assert answer.headers["location"] == f"/v1/jobs/{copied['id']}"
    assert (copied["status"], copied["copy_of"]) == ("copying", job["id"])
    return copied


async def _done(driven: Driven, prompt: str = "a lighthouse at dawn", **more: Any) -> dict[str, Any]:
    job = await driven.drive(await driven.called_back(prompt, **more))
    assert job["status"] == "succeeded", job
    return job


def _check_stored(driven: Driven, bucket: str, job: dict[str, Any], original: dict[str, Any]) -> None:
    assert job["status"] == "succeeded", job
    for output, first in zip(job["outputs"], original["outputs"], strict=True):
        assert output["key"].startswith(f"{OTHER}/{job['id']}/{output['index']:02}.")
        digest = hashlib.sha256(driven.s3.read(bucket, output["key"])).hexdigest()
        assert digest == output["sha256"]
        assert first["sha256"] in {digest, None}


def _downloads(driven: Driven, job: dict[str, Any]) -> int:
    return driven.sandbox.tasks[job["provider_task_id"]].downloads.total()


def _let_urls_expire(driven: Driven) -> None:
    driven.sandbox.now = lambda: time.time() + 7200


async def test_a_copy_is_stored_elsewhere_and_the_provider_is_neither_asked_nor_paid_again(
    driven: Driven, other: str
) -> None:
    prompt = "a lighthouse [fault:v2_envelope]"  # with a fault, downloads are counted
    job = await _done(driven, input=txt2img(prompt, image_num=2), metadata={"order": "42"})
    begun = await _copy_of(driven, job)
    # What is stored already is not about to be lost.
    assert (begun["source_expires_at"], begun["outputs"][0]["source_expires_at"]) == (None, None)
    copied = await driven.drive(begun)
    _check_stored(driven, other, copied, job)
    assert (copied["metadata"], copied["destination"], copied["run"]) == ({"order": "42"}, "other", 1)
    assert (copied["provider_task_id"], copied["submitted_at"], copied["verified_by"]) == (None, None, "readback")
    assert await driven.types(copied) == ["job.copying", "output.stored", "output.stored", "job.succeeded"]
    assert (len(driven.sandbox.paid), driven.lookups(job), _downloads(driven, job)) == (1, 1, 4)
    assert await driven.job(job) == job
    assert len(driven.keys()) == 2


async def test_a_copy_has_metadata_of_its_own_if_it_is_given_any(driven: Driven, other: str) -> None:
    job = await _done(driven, metadata={"order": "42"})
    assert (await _copy_of(driven, job, metadata={"for": "archive"}))["metadata"] == {"for": "archive"}
    assert (await _copy_of(driven, job, metadata={}))["metadata"] == {}


async def test_a_copy_to_the_same_destination_has_keys_of_its_own(driven: Driven) -> None:
    job = await _done(driven)
    copied = await driven.drive(await _copy_of(driven, job, to="acme"))
    assert copied["status"] == "succeeded"
    assert driven.keys() == sorted([job["outputs"][0]["key"], copied["outputs"][0]["key"]])


async def test_a_copy_goes_to_the_destinations_path_and_not_to_the_one_that_the_body_named(
    driven: Driven, other: str
) -> None:
    storage = {"region": driven.s3.region, "bucket": driven.bucket, "path": "own", "save_to_path_directly": True}
    job = await _done(driven, input=txt2img(extra={"custom_storage": {"aws_s3": storage}}))
    copied = await driven.drive(await _copy_of(driven, job))
    assert copied["outputs"][0]["key"] == f"{OTHER}/{copied['id']}/00.jpeg"


async def test_a_job_that_failed_at_its_bucket_is_saved_by_a_copy(driven: Driven, other: str) -> None:
    await driven.client.put("/v1/destinations/acme", json=destination(driven.s3, "there-is-no-such-bucket"))
    job = await driven.copy(await driven.copying())
    assert job["error"]["code"] == "destination_denied"
    copied = await _copy_of(driven, job)
    assert copied["source_expires_at"] == job["source_expires_at"] is not None
    _check_stored(driven, other, await driven.drive(copied), job)
    assert (await driven.job(job))["status"] == "failed"


async def test_a_canceled_job_is_copied_from_where_it_was(driven: Driven, other: str) -> None:
    job = await driven.cancel(await driven.copying())
    _check_stored(driven, other, await driven.drive(await _copy_of(driven, job)), job)


async def test_a_job_that_was_being_made_anew_is_copied_with_the_outputs_that_it_has(
    driven: Driven, other: str
) -> None:
    job = await driven.drive(await driven.submit(**seedream("a lighthouse [fault:base64]")))
    # One of two was stored, the other one lost, so that all was to be made anew; and then not.
    await driven.sql(
        "UPDATE jobs SET status = 'canceled', verified_by = NULL, provider_status = NULL, progress = NULL WHERE id = $1",
        uuid(job),
    )
    _check_stored(driven, other, await driven.drive(await _copy_of(driven, job)), job)


# --- Where the files come from ---------------------------------------------------------------------------------------


async def test_urls_that_are_over_are_signed_anew_through_the_originals_task(driven: Driven, other: str) -> None:
    job = await _done(driven, "a lighthouse [fault:expired]")
    lookups = driven.lookups(job)
    _let_urls_expire(driven)
    copied = await driven.drive(await _copy_of(driven, job))
    _check_stored(driven, other, copied, job)
    assert driven.lookups(job) == lookups + 1
    assert len(driven.sandbox.paid) == 1


async def test_what_the_provider_has_not_got_any_more_is_read_out_of_the_first_bucket(
    driven: Driven, other: str, faulty_s3: FaultyS3
) -> None:
    first = destination(driven.s3, driven.bucket, endpoint_url=faulty_s3.endpoint_url)
    await driven.client.put("/v1/destinations/acme", json=first)
    job = await _done(driven, input=txt2img(image_num=2))
    _let_urls_expire(driven)
    before = driven.lookups(job)
    faulty_s3.forget()
    copied = await driven.drive(await _copy_of(driven, job))
    _check_stored(driven, other, copied, job)
    assert faulty_s3.count("GetObject") == 2
    assert (driven.lookups(job) - before, len(driven.sandbox.paid)) == (1, 1)
    assert copied["source_expires_at"] is None


async def test_a_task_that_the_provider_has_forgotten_is_no_hindrance(driven: Driven, other: str) -> None:
    job = await _done(driven)
    driven.sandbox.tasks.clear()
    driven.sandbox.files.clear()
    _check_stored(driven, other, await driven.drive(await _copy_of(driven, job)), job)


async def test_a_first_bucket_that_is_slow_is_asked_again(driven: Driven, other: str, faulty_s3: FaultyS3) -> None:
    first = destination(driven.s3, driven.bucket, endpoint_url=faulty_s3.endpoint_url)
    await driven.client.put("/v1/destinations/acme", json=first)
    job = await _done(driven)
    _let_urls_expire(driven)
    faulty_s3.inject(SLOW_DOWN, "GetObject", times=4)
    _check_stored(driven, other, await driven.drive(await _copy_of(driven, job)), job)


async def test_a_first_bucket_that_denies_us_the_object_is_named_with_what_to_change(
    driven: Driven, other: str, faulty_s3: FaultyS3
) -> None:
    first = destination(driven.s3, driven.bucket, endpoint_url=faulty_s3.endpoint_url)
    await driven.client.put("/v1/destinations/acme", json=first)
    job = await _done(driven)
    _let_urls_expire(driven)
    faulty_s3.inject(ACCESS_DENIED, "GetObject", times=None)
    copied = await driven.drive(await _copy_of(driven, job))
    assert (copied["status"], copied["error"]["code"]) == ("failed", "output_expired")
    assert "s3:GetObject" in copied["error"]["hint"]
    faulty_s3.forget()
    assert (await driven.retry(copied)).status_code == 202
    _check_stored(driven, other, await driven.drive(copied), job)


async def test_an_object_that_somebody_has_changed_is_not_copied(driven: Driven, other: str) -> None:
    job = await _done(driven)
    _let_urls_expire(driven)
    key, size = job["outputs"][0]["key"], job["outputs"][0]["bytes"]
    body = bytearray(driven.s3.read(driven.bucket, key))
    body[size // 2] ^= 1
    for altered in (bytes(body), bytes(body[:-1])):
        await _overwrite(driven, key, altered)
        copied = await driven.drive(await _copy_of(driven, job))
        assert (copied["status"], copied["error"]["code"]) == ("failed", "output_expired")
    assert driven.s3.list_keys(other) == []


async def _overwrite(driven: Driven, key: str, body: bytes) -> None:
    row = await queries().get_destination_by_id(driven.service.pool, id=(await _row_of(driven, "acme"))["id"])
    spec = read_target(driven.service.keyring, row, None, ()).spec
    async with driven.context.buckets.client(spec) as s3:
        await s3.put_object(Bucket=driven.bucket, Key=key, Body=body)


async def _row_of(driven: Driven, name: str) -> Any:
    return (await driven.sql("SELECT * FROM destinations WHERE name = $1", name))[0]


async def test_where_nothing_is_left_the_copy_says_so_and_never_submits(driven: Driven, other: str) -> None:
    job = await _done(driven)
    driven.sandbox.tasks.clear()
    driven.sandbox.files.clear()
    driven.s3.empty_bucket(driven.bucket)
    copied = await driven.drive(await _copy_of(driven, job))
    assert (copied["status"], copied["error"]["code"]) == ("failed", "output_expired")
    again = (await driven.retry(copied, accept_second_charge=True)).json()
    assert (again["status"], again["run"]) == ("copying", 2)
    assert (await driven.drive(again))["error"]["code"] == "output_expired"
    assert len(driven.sandbox.submits) == 1


async def test_a_copy_of_a_copy_finds_the_file_wherever_it_is_left(driven: Driven, other: str) -> None:
    job = await _done(driven)
    first = await driven.drive(await _copy_of(driven, job))
    driven.sandbox.tasks.clear()
    driven.sandbox.files.clear()
    driven.s3.empty_bucket(driven.bucket)
    second = await driven.drive(await _copy_of(driven, first, to="acme"))
    assert (second["status"], second["copy_of"]) == ("succeeded", first["id"])
    assert driven.keys() == [second["outputs"][0]["key"]]
    # The bucket of the one in between is empty; what the first one had is gone as well.
    driven.s3.empty_bucket(other)
    third = await driven.drive(await _copy_of(driven, second))
    _check_stored(driven, other, third, job)


async def test_a_copy_of_a_failed_copy_goes_back_to_the_job_that_has_the_file(driven: Driven, other: str) -> None:
    job = await _done(driven)
    _let_urls_expire(driven)
    await driven.client.put("/v1/destinations/broken", json=destination(driven.s3, "there-is-no-such-bucket"))
    failed = await driven.drive(await _copy_of(driven, job, to="broken"))
    assert failed["error"]["code"] == "destination_denied"
    _check_stored(driven, other, await driven.drive(await _copy_of(driven, failed)), job)


async def test_files_that_came_inside_the_answer_are_copied_while_they_are_kept(driven: Driven, other: str) -> None:
    await driven.client.put("/v1/destinations/acme", json=destination(driven.s3, "there-is-no-such-bucket"))
    job = await driven.drive(await driven.submit(**seedream("a lighthouse [fault:base64]")))
    assert job["error"]["code"] == "destination_denied"
    copied = await driven.drive(await _copy_of(driven, job))
    assert copied["status"] == "succeeded"
    assert len(driven.s3.list_keys(other)) == len(job["outputs"])
    # The original's own are kept for its retry.
    assert len(await driven.sql("SELECT FROM inline_outputs WHERE job_id = $1", uuid(job))) == len(job["outputs"])


async def test_files_that_came_inside_the_answer_are_read_out_of_the_bucket_once_they_are_stored(
    driven: Driven, other: str
) -> None:
    job = await driven.drive(await driven.submit(**seedream("a lighthouse [fault:base64]")))
    assert job["status"] == "succeeded"
    _check_stored(driven, other, await driven.drive(await _copy_of(driven, job)), job)
    assert len(driven.sandbox.paid) == 1


# --- Afterwards ------------------------------------------------------------------------------------------------------


async def test_a_copy_that_is_canceled_goes_on_with_its_outputs_when_it_is_retried(driven: Driven, other: str) -> None:
    job = await _done(driven)
    copied = await driven.cancel(await _copy_of(driven, job))
    again = (await driven.retry(copied)).json()
    assert (again["status"], again["run"]) == ("copying", 2)
    _check_stored(driven, other, await driven.drive(again), job)
    assert len(driven.sandbox.submits) == 1


async def test_a_job_that_is_retried_after_it_was_copied_is_none_of_its_copys_business(
    driven: Driven, other: str
) -> None:
    job = await driven.cancel(await driven.copying())
    copied = await _copy_of(driven, job)
    assert (await driven.retry(job)).status_code == 202
    assert (await driven.drive(job))["status"] == "succeeded"
    _check_stored(driven, other, await driven.drive(copied), job)
    assert len(driven.sandbox.paid) == 1


async def test_a_copy_survives_that_its_original_is_deleted(driven: Driven, other: str) -> None:
    copied = await driven.cancel(await _copy_of(driven, await _done(driven)))
    await driven.sql("UPDATE jobs SET copy_of = NULL WHERE id = $1", uuid(copied))
    assert (await driven.retry(copied)).status_code == 202
    assert (await driven.drive(copied))["status"] == "succeeded"
    assert len(driven.sandbox.submits) == 1


async def test_retry_neither_downloads_nor_writes_what_is_stored(driven: Driven, faulty_s3: FaultyS3) -> None:
    spec = destination(driven.s3, driven.bucket, endpoint_url=faulty_s3.endpoint_url)
    await driven.client.put("/v1/destinations/acme", json=spec)
    job = await driven.copying(input=txt2img("a lighthouse [fault:v2_envelope]", image_num=3))
    missing = f"renders/{job['id']}/01.jpeg"
    faulty_s3.inject(ACCESS_DENIED, "PutObject", key=missing)
    failed = await driven.copy(job)
    assert [output["status"] for output in failed["outputs"]] == ["stored", "writing", "stored"]
    downloads = driven.sandbox.tasks[job["provider_task_id"]].downloads
    before = dict(downloads)
    faulty_s3.forget()
    assert (await driven.retry(job)).status_code == 202
    assert (await driven.drive(job))["status"] == "succeeded"
    assert {index: count - before[index] for index, count in downloads.items()} == {0: 0, 1: 1, 2: 0}
    assert {request.key for request in faulty_s3.seen} == {missing}
    assert faulty_s3.count("PutObject") == 1


async def test_no_chain_of_copies_leaves_the_account(driven: Driven, other: str) -> None:
    job = await _done(driven)
    copied = await driven.drive(await _copy_of(driven, await driven.drive(await _copy_of(driven, job))))
    rows = queries().earlier_outputs(driven.service.pool, job_id=uuid(copied), index=0)
    found = [row["job_id"] async for row in rows]
    assert found[-1] == uuid(job)
    [row] = await driven.sql("SELECT count(DISTINCT account_id) FROM jobs WHERE id = ANY($1::uuid[])", found)
    assert row["count"] == 1


# --- When the provider's files are no good any more ------------------------------------------------------------------


async def _point_to(driven: Driven, job: dict[str, Any], url: str) -> None:
    await driven.sql("UPDATE outputs SET source_url = $2 WHERE job_id = $1", uuid(job), url)


@pytest.mark.parametrize("url", ["http://10.0.0.1/file", "http://127.0.0.1:1/file", "{sandbox}/nothing-but-a-page"])
async def test_a_url_that_gives_no_such_file_is_left_for_what_is_stored(driven: Driven, other: str, url: str) -> None:
    job = await _done(driven)
    driven.sandbox.tasks.clear()
    copied = await _copy_of(driven, job)
    await _point_to(driven, copied, url.format(sandbox=driven.sandbox_url))
    _check_stored(driven, other, await driven.drive(copied), job)


async def test_a_url_that_gives_another_file_than_before_is_not_believed(driven: Driven, other: str) -> None:
    job, another = await _done(driven), await _done(driven, input=txt2img("a harbour at dusk", seed=8))
    [row] = await driven.sql("SELECT source_url FROM outputs WHERE job_id = $1", uuid(another))
    copied = await _copy_of(driven, job)
    await _point_to(driven, copied, row["source_url"])
    _check_stored(driven, other, await driven.drive(copied), job)
    assert another["outputs"][0]["sha256"] != job["outputs"][0]["sha256"]


async def test_a_copy_is_made_of_what_waits_in_the_spool(database_url: str, s3_server: S3Server, bucket: str) -> None:
    spool, saved = f"test-{uuid4().hex}", f"test-{uuid4().hex}"
    for name in (spool, saved):
        s3_server.create_bucket(name)
    more = {
        "GENRELAY_SPOOL__BUCKET": spool,
        "GENRELAY_SPOOL__ENDPOINT_URL": s3_server.endpoint_url,
        "GENRELAY_SPOOL__ACCESS_KEY_ID": s3_server.admin.access_key_id,
        "GENRELAY_SPOOL__SECRET_ACCESS_KEY": s3_server.admin.secret_access_key,
    }
    async with driven_world(database_url, s3_server, bucket, **more) as driven:
        for name, there in (("acme", "there-is-no-such-bucket"), ("other", saved)):
            spec = destination(driven.s3, there, path=OTHER)
            assert (await driven.client.put(f"/v1/destinations/{name}", json=spec)).is_success
        job = await driven.drive(await driven.called_back())
        assert (job["error"]["code"], job["outputs"][0]["spooled_until"] is None) == ("destination_denied", False)
        driven.sandbox.tasks.clear()
        driven.sandbox.files.clear()
        _check_stored(driven, saved, await driven.drive(await _copy_of(driven, job)), job)
        # The original's retry still finds it there.
        [row] = await driven.sql("SELECT spool_key FROM outputs WHERE job_id = $1", uuid(job))
        assert s3_server.list_keys(spool) == [row["spool_key"]]
