"""Copying: each output once, checked, and a clear end when it can't be had."""

from __future__ import annotations

import asyncio
import hashlib
import io
from dataclasses import replace
from typing import Any

import httpx
import pytest
from PIL import Image

from service.crypto import Keyring
from service.db.sql import queries
from service.demo.s3server import S3Server
from service.engine.copying import copy
from service.engine.ledger import outputs_of
from service.outputs.destinations import read_target
from service.sandbox.outputs import content
from tests.engine.driven import Driven, driven_world, uuid
from tests.world import destination, txt2img, until


async def _put(driven: Driven, key: str, body: bytes, **more: Any) -> None:
    row = (await driven.sql("SELECT * FROM destinations"))[0]
    spec = read_target(driven.service.keyring, row, None, ()).spec
    async with driven.context.buckets.client(spec) as s3:
        await s3.put_object(Bucket=driven.bucket, Key=key, Body=body, **more)


@pytest.mark.parametrize(
    ("fault", "code", "hint"),
    [
        ("wrong_type", "output_rejected", "can't be stored"),
        ("redirect", "output_rejected", "can't be stored"),
        ("private_url", "output_rejected", "OUTPUT_HOSTS"),
        ("truncated", "output_rejected", "damaged"),
        ("cut", "output_expired", ""),
        ("image_404", "output_expired", "limited time"),
        ("expired_forever", "output_expired", "limited time"),
    ],
)
async def test_an_output_that_can_never_be_stored_fails_the_job(
    driven: Driven, fault: str, code: str, hint: str
) -> None:
    job = await driven.drive(await driven.called_back(f"a lighthouse [fault:{fault}]"))
    assert (job["status"], job["error"]["code"]) == ("failed", code)
    assert hint in job["error"]["hint"]
    assert driven.keys() == []
    assert "X-Amz" not in str(job)
    assert job["outputs"][0]["status"] in {"pending", "writing"}


async def test_an_output_on_a_host_that_is_not_the_providers_is_not_fetched(driven: Driven) -> None:
    job = await driven.copying("a lighthouse [fault:v2_envelope]")
    await driven.sql("UPDATE outputs SET source_url = replace(source_url, '127.0.0.1', 'localhost')")
    job = await driven.copy(job)
    assert (job["status"], job["error"]["code"]) == ("failed", "output_rejected")
    assert driven.sandbox.tasks[job["provider_task_id"]].downloads.total() == 0


async def test_a_file_without_end_is_refused_at_the_limit(database_url: str, s3_server: S3Server, bucket: str) -> None:
    more = {"GENRELAY_OUTPUTS__MAX_IMAGE_BYTES": "200000"}
    async with driven_world(database_url, s3_server, bucket, **more) as driven:
        job = await driven.drive(await driven.called_back("a lighthouse [fault:huge]"))
        assert (job["status"], job["error"]["code"]) == ("failed", "output_rejected")
        assert "200000 bytes" in job["error"]["message"]
        assert driven.keys() == []


@pytest.mark.parametrize("fault", ["truncated=2", "cut=2", "image_503=3", "expired=2"])
async def test_trouble_with_a_download_passes(driven: Driven, fault: str) -> None:
    job = await driven.drive(await driven.called_back(f"a lighthouse [fault:{fault}]"))
    assert job["status"] == "succeeded"
    [key] = driven.keys()
    assert hashlib.sha256(driven.s3.read(driven.bucket, key)).hexdigest() == job["outputs"][0]["sha256"]
    assert len(driven.sandbox.paid) == 1


async def test_an_expired_url_is_fetched_anew_through_the_read_back(driven: Driven) -> None:
    job = await driven.copying("a lighthouse [fault:expired]")
    assert driven.lookups(job) == 1
    job = await driven.copy(job)
    assert (job["status"], driven.lookups(job)) == ("copying", 2)
    assert (await driven.copy(job))["status"] == "succeeded"


async def test_the_read_backs_for_fresh_urls_are_bounded(driven: Driven) -> None:
    job = await driven.drive(await driven.called_back("a lighthouse [fault:expired_forever]"))
    assert driven.lookups(job) <= 1 + 3


async def test_one_expired_output_does_not_spoil_another_that_has_a_passing_trouble(driven: Driven) -> None:
    job = await driven.copying("a lighthouse [fault:more_images] [fault:expired]")
    nobody = f"{driven.sandbox_url.rpartition(':')[0]}:1/image.jpeg"
    await driven.sql("UPDATE outputs SET source_url = $1 WHERE index = 1", nobody)
    job = await driven.drive(job)
    assert job["status"] == "succeeded"
    assert len(driven.keys()) == 2


async def test_what_is_stored_is_named_after_what_it_is_and_not_after_what_it_was_called(driven: Driven) -> None:
    job = await driven.drive(await driven.called_back("a lighthouse [fault:mislabeled]"))
    [output] = job["outputs"]
    assert (output["media_type"], output["key"]) == ("image/png", f"renders/{job['id']}/00.png")
    with Image.open(io.BytesIO(driven.s3.read(driven.bucket, output["key"]))) as image:
        assert (image.format, image.size) == ("PNG", (output["width"], output["height"]))


async def test_more_images_than_were_asked_for_are_all_stored(driven: Driven) -> None:
    body = txt2img("a lighthouse [fault:more_images]", image_num=3)
    job = await driven.drive(await driven.called_back(input=body))
    assert [output["index"] for output in job["outputs"]] == list(range(6))
    assert driven.keys() == [f"renders/{job['id']}/{index:02}.jpeg" for index in range(6)]
    assert (await driven.types(job)).count("output.stored") == 6


async def test_a_destination_may_save_to_its_path_directly(driven: Driven) -> None:
    spec = destination(driven.s3, driven.bucket, save_to_path_directly=True)
    await driven.client.put("/v1/destinations/acme?check=false", json=spec)
    job = await driven.drive(await driven.called_back())
    assert driven.keys() == [f"renders/{job['id']}-00.jpeg"]


async def test_the_bodys_own_storage_beats_the_destinations_path(driven: Driven) -> None:
    storage = {
        "region": driven.s3.region,
        "bucket": driven.bucket,
        "path": "/of//the/job/",
        "save_to_path_directly": True,
    }
    body = txt2img(extra={"custom_storage": {"aws_s3": storage}})
    job = await driven.drive(await driven.called_back(input=body))
    assert driven.keys() == [f"of/the/job/{job['id']}-00.jpeg"]


async def test_an_object_of_somebody_else_under_the_key_is_left_alone(driven: Driven) -> None:
    job = await driven.copying()
    key = f"renders/{job['id']}/00.jpeg"
    await _put(driven, key, b"precious")
    job = await driven.drive(job)
    assert (job["status"], job["error"]["code"]) == ("failed", "destination_conflict")
    assert driven.s3.read(driven.bucket, key) == b"precious"
    assert job["outputs"][0]["url"] is None


async def test_an_object_of_ours_from_before_a_crash_is_not_written_again(driven: Driven) -> None:
    job = await driven.copying("a lighthouse [fault:v2_envelope]")
    fixed = await _fix(driven, job, await _content(driven, job))
    await _put(driven, fixed["key"], fixed["body"], Metadata={"sha256": fixed["sha256"].hex()})
    job = await driven.copy(job)
    assert (job["status"], job["outputs"][0]["sha256"]) == ("succeeded", fixed["sha256"].hex())
    assert driven.sandbox.tasks[job["provider_task_id"]].downloads.total() == 0
    assert await driven.types(job) == [
        "job.queued", "job.submitted", "job.callback", "job.copying", "output.stored", "job.succeeded",
    ]  # fmt: skip


async def test_what_was_fixed_before_a_crash_and_never_arrived_is_fetched_again(driven: Driven) -> None:
    job = await driven.copying("a lighthouse [fault:v2_envelope]")
    await _fix(driven, job, b"something that the provider has not got any more")
    job = await driven.copy(job)
    assert job["status"] == "succeeded"
    assert driven.sandbox.tasks[job["provider_task_id"]].downloads.total() == 1
    stored = driven.s3.read(driven.bucket, job["outputs"][0]["key"])
    assert stored == await _content(driven, job)


async def _content(driven: Driven, job: dict[str, Any]) -> bytes:
    task = driven.sandbox.tasks[job["provider_task_id"]]
    return await content(driven.sandbox, task, 0)


async def _fix(driven: Driven, job: dict[str, Any], body: bytes) -> dict[str, Any]:
    """Do what a worker does before it writes an object."""
    fixed = {
        "media_type": "image/jpeg", "extension": "jpeg", "bytes": len(body), "width": 128, "height": 128,
        "sha256": hashlib.sha256(body).digest(), "bucket": driven.bucket, "key": f"renders/{job['id']}/00.jpeg",
        "frames": None, "mark": None, "part_bytes": None, "checksum": None,
        "region": None, "endpoint_url": None,  # as a worker of an older version leaves them
        "key_run": 1,
    }  # fmt: skip
    done = await queries().fix_output(driven.service.pool, job_id=uuid(job), index=0, **fixed)
    assert done is not None
    return {**fixed, "body": body}


async def test_several_workers_at_the_same_copy_store_each_output_once(driven: Driven) -> None:
    job = await driven.copying("a lighthouse [fault:more_images]")
    for _ in range(3):
        await driven.make_due(job)
        await asyncio.gather(*(copy(driven.context, uuid(job)) for _ in range(4)))
    job = await driven.job(job)
    assert job["status"] == "succeeded"
    types = await driven.types(job)
    assert (types.count("output.stored"), types.count("job.succeeded")) == (2, 1)


async def test_two_workers_that_both_hold_the_copy_store_each_output_once(driven: Driven) -> None:
    job = await driven.copying("a lighthouse [fault:more_images] [fault:slow_image=0.3]")
    first = asyncio.create_task(copy(driven.context, uuid(job)))
    await _wait_for_downloads(driven, job, 2)
    # The first one's lease is over, as if it had been stopped for a while.
    await driven.make_due(job)
    await asyncio.gather(first, copy(driven.context, uuid(job)))
    job = await driven.job(job)
    assert job["status"] == "succeeded"
    types = await driven.types(job)
    assert (types.count("output.stored"), types.count("job.succeeded")) == (2, 1)
    assert len(driven.keys()) == 2


async def _wait_for_downloads(driven: Driven, job: dict[str, Any], count: int) -> None:
    async def begun() -> bool:
        return driven.sandbox.tasks[job["provider_task_id"]].downloads.total() >= count

    await until(begun)


async def test_a_cancel_during_the_copy_stays_one_and_nothing_more_is_written(driven: Driven) -> None:
    job = await driven.copying("a lighthouse [fault:slow_image=0.3]")
    copying = asyncio.create_task(copy(driven.context, uuid(job)))
    await _wait_for_downloads(driven, job, 1)
    canceled = await driven.cancel(job)
    await copying
    assert await driven.job(job) == canceled
    assert driven.keys() == []
    assert (await driven.types(job))[-1] == "job.canceled"


async def test_a_digest_once_fixed_is_not_overwritten_by_another_worker(driven: Driven) -> None:
    job = await driven.copying()
    fixed = await _fix(driven, job, b"the first worker's")
    async with driven.service.pool.acquire() as connection:
        [output] = await outputs_of(connection, uuid(job))
    other = replace(output, sha256=hashlib.sha256(b"the second worker's").digest())
    values = {name: getattr(other, name) for name in fixed if name != "body"}
    assert await queries().fix_output(driven.service.pool, job_id=uuid(job), index=0, **values) is None
    [row] = await driven.sql("SELECT sha256 FROM outputs")
    assert row["sha256"] == fixed["sha256"]


async def test_only_who_fixed_an_output_may_unfix_it_or_call_it_stored(driven: Driven) -> None:
    job = await driven.copying()
    fixed = await _fix(driven, job, b"the first worker's")
    names = ("sha256", "bucket", "region", "endpoint_url", "key")
    ours = {"job_id": uuid(job), "index": 0, **{name: fixed[name] for name in names}}
    others = hashlib.sha256(b"the second worker's").digest()
    for name, value in (("sha256", others), ("bucket", "another"), ("key", "another")):
        rows = queries().mark_stored(driven.service.pool, **{**ours, name: value})
        assert [row async for row in rows] == [], name
    await queries().unfix_output(driven.service.pool, job_id=uuid(job), index=0, sha256=others)
    [row] = await driven.sql("SELECT status, sha256 FROM outputs")
    assert (row["status"], row["sha256"]) == ("writing", fixed["sha256"])
    assert [row["status"] async for row in queries().mark_stored(driven.service.pool, **ours)] == ["stored"]


@pytest.mark.parametrize("manifest", [False, True])
async def test_a_job_whose_last_output_was_marked_by_another_worker_ends_as_it_should(
    driven: Driven, manifest: bool
) -> None:
    given = destination(driven.s3, driven.bucket, manifest=manifest)
    assert (await driven.client.put("/v1/destinations/acme", json=given)).is_success
    job = await driven.copying()
    await _fix(driven, job, b"the first worker's")
    await driven.sql("UPDATE outputs SET status = 'stored', stored_at = now()")
    assert (await driven.copy(job))["status"] == "succeeded"
    assert driven.keys() == [f"renders/{job['id']}/manifest.json"] * manifest


@pytest.mark.parametrize("status", ["canceled", "failed", "running"])
async def test_nothing_is_fixed_for_a_job_that_is_not_being_copied(driven: Driven, status: str) -> None:
    job = await driven.copying()
    more = ", completed_at = now(), due_at = NULL" if status != "running" else ""
    error = ", error = '{}'" if status == "failed" else ""
    await driven.sql(f"UPDATE jobs SET status = $1 {more} {error}", status)
    with pytest.raises(AssertionError):
        await _fix(driven, job, b"too late")


async def test_keys_rotated_between_submit_and_callback_still_open_the_door(driven: Driven) -> None:
    job = await driven.sent("a lighthouse [fault:held]")
    old = driven.url_for(job)
    driven.service.keyring.callback_keys.insert(
        0, Keyring(["another secret key of 32 characters or more"]).callback_keys[0]
    )
    assert driven.url_for(job) != old
    driven.sandbox.release(job["provider_task_id"])
    await driven.wait_for_callbacks(job)
    assert (await driven.drive(job))["status"] == "succeeded"
    assert await driven.verdicts(job) == ["confirmed"]


async def test_the_link_to_a_stored_output_gives_what_is_stored(driven: Driven) -> None:
    job = await driven.drive(await driven.called_back())
    answer = await driven.client.get(f"/v1/jobs/{job['id']}/outputs/0")
    assert answer.status_code == 307
    async with httpx.AsyncClient(trust_env=False, verify=False) as client:
        content = (await client.get(answer.headers["location"])).content
    assert hashlib.sha256(content).hexdigest() == job["outputs"][0]["sha256"]
