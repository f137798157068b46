"""The manifest: one object that tells what a job's outputs are, there before anybody hears that the job has succeeded."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from PIL import Image

from service.engine.copying import copy
from service.engine.housekeeping import keep_house
from service.engine.ledger import outputs_of
from service.engine.manifests import write_manifest
from service.outputs.destinations import Target, read_target
from tests.engine.driven import Driven, uuid
from tests.engine.test_calls import seedream
from tests.faulty_s3 import ACCESS_DENIED, SLOW_DOWN, Cut, Drip, FaultyS3
from tests.world import destination, txt2img, until


@pytest.fixture
async def s3(driven: Driven, faulty_s3: FaultyS3) -> AsyncIterator[FaultyS3]:
    """The S3 server as the destination `acme` sees it, which writes manifests."""
    await _put_destination(driven, faulty_s3)
    yield faulty_s3


async def _put_destination(driven: Driven, s3: FaultyS3, **changes: Any) -> None:
    spec = destination(driven.s3, driven.bucket, endpoint_url=s3.endpoint_url, manifest=True, **changes)
    answer = await driven.client.put("/v1/destinations/acme", json=spec)
    assert answer.status_code in {200, 201}, answer.text


def _key(job: dict[str, Any]) -> str:
    return f"renders/{job['id']}/manifest.json"


def _read(driven: Driven, job: dict[str, Any], key: str | None = None) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(driven.s3.read(driven.bucket, key or _key(job)))
    return found


async def _target(driven: Driven) -> Target:
    [row] = await driven.sql(
        "SELECT destinations.*, accounts.name AS account_name, external_id"
        " FROM destinations JOIN accounts ON accounts.id = account_id WHERE destinations.name = 'acme'"
    )
    return read_target(driven.service.keyring, row, None, ())


async def _write(driven: Driven, job: dict[str, Any]) -> None:
    """Do what a worker does before it crashes."""
    async with driven.service.pool.acquire() as connection:
        outputs = await outputs_of(connection, uuid(job))
    await write_manifest(driven.context, await driven.row(job), await _target(driven), outputs)


async def _all_stored(driven: Driven, s3: FaultyS3) -> dict[str, Any]:
    """Return a job whose outputs are stored, and whose manifest could not be written."""
    job = await driven.copying(metadata={"order": "42"})
    s3.inject(SLOW_DOWN, "PutObject", key=_key(job), times=2)
    job = await driven.copy(job)
    assert (job["status"], [output["status"] for output in job["outputs"]]) == ("copying", ["stored"])
    s3.forget()
    return job


def _png() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), "teal").save(file, "PNG")
    return file.getvalue()


# --- What it says ----------------------------------------------------------------------------------------------------


async def test_a_manifest_tells_what_the_outputs_are_and_how_they_came_to_be(driven: Driven, s3: FaultyS3) -> None:
    body = txt2img(image_num=2)
    job = await driven.drive(await driven.called_back(input=body, metadata={"order": "42", "note": "é"}))
    assert job["status"] == "succeeded"
    manifest = _read(driven, job)
    [row] = await driven.sql("SELECT index, stored_at FROM outputs WHERE index = 0")
    assert manifest["schema"] == "genrelay.manifest/1"
    same = ("provider", "operation", "provider_task_id", "test", "metadata", "track_id", "created_at", "submitted_at")
    assert {name: manifest[name] for name in same} == {name: job[name] for name in same}
    assert (manifest["job"], manifest["copy_of"], manifest["test"]) == (job["id"], None, False)
    for told, output in zip(manifest["outputs"], job["outputs"], strict=True):
        assert set(told) - {"stored_at"} < set(output)
        assert {name: value for name, value in told.items() if name != "stored_at"} == {
            name: output[name] for name in told if name != "stored_at"
        }
        assert told["sha256"] == hashlib.sha256(driven.s3.read(driven.bucket, told["key"])).hexdigest()
    assert manifest["outputs"][0]["stored_at"].startswith(row["stored_at"].isoformat()[:22])
    sent = json.dumps({"request": body["request"], "extra": body["extra"]}, ensure_ascii=False, separators=(",", ":"))
    assert manifest["input"] == {
        "sha256": hashlib.sha256(sent.encode()).hexdigest(),
        "model": "sd_xl_base_1.0.safetensors",
        "seed": 7,
        "references": [],
    }


async def test_the_object_is_json_with_a_digest_and_says_whose_it_is(driven: Driven, s3: FaultyS3) -> None:
    job = await driven.drive(await driven.called_back())
    target = await _target(driven)
    async with driven.context.buckets.client(target.spec) as client:
        head = await client.head_object(Bucket=driven.bucket, Key=_key(job))
    assert head["ContentType"] == "application/json"
    assert head["Metadata"]["genrelay-job"] == job["id"]
    assert head["Metadata"]["sha256"] == hashlib.sha256(driven.s3.read(driven.bucket, _key(job))).hexdigest()


async def test_pictures_that_went_in_are_told_by_their_digest_and_links_without_what_is_secret(
    driven: Driven, s3: FaultyS3
) -> None:
    picture = _png()
    link = "https://someone@images.example/harbour.png?X-Amz-Signature=secret#part"
    references = [f"data:image/png;base64,{base64.b64encode(picture).decode()}", link.replace("someone@", "")]
    job = seedream()
    job["input"]["images"] = references
    done = await driven.drive(await driven.submit(**job))
    assert done["status"] == "succeeded", done
    found = _read(driven, done)["input"]
    assert found["model"] == "seedream-4.0"
    assert found["references"] == [
        {"path": "images[0]", "sha256": hashlib.sha256(picture).hexdigest(), "bytes": len(picture), "url": None},
        {"path": "images[1]", "sha256": None, "bytes": None, "url": "https://images.example/harbour.png"},
    ]


async def test_a_manifest_lies_where_the_outputs_do(driven: Driven, s3: FaultyS3) -> None:
    storage = {"region": driven.s3.region, "bucket": driven.bucket, "path": "of/the/job", "save_to_path_directly": True}
    inside = await driven.drive(await driven.called_back(input=txt2img(extra={"custom_storage": {"aws_s3": storage}})))
    await _put_destination(driven, s3, save_to_path_directly=True)
    direct = await driven.drive(await driven.called_back())
    assert driven.keys() == sorted(
        [
            f"of/the/job/{inside['id']}-00.jpeg", f"of/the/job/{inside['id']}-manifest.json",
            f"renders/{direct['id']}-00.jpeg", f"renders/{direct['id']}-manifest.json",
        ]
    )  # fmt: skip


async def test_a_copy_tells_of_the_task_that_its_original_had(driven: Driven, s3: FaultyS3) -> None:
    job = await driven.drive(await driven.called_back())
    answer = await driven.client.post(f"/v1/jobs/{job['id']}/copy", json={"destination": "acme"})
    copied = await driven.drive(answer.json())
    first, second = _read(driven, job), _read(driven, copied)
    assert (second["job"], second["copy_of"]) == (copied["id"], job["id"])
    for name in ("provider_task_id", "submitted_at", "metadata"):
        assert second[name] == first[name] is not None, name
    assert second["input"] == {"sha256": first["input"]["sha256"], "model": None, "seed": None, "references": None}


# --- When it is written ----------------------------------------------------------------------------------------------


async def test_a_manifest_is_there_before_anybody_hears_of_the_success(driven: Driven, s3: FaultyS3) -> None:
    job = await driven.drive(await driven.called_back(input=txt2img(image_num=2)))
    assert await driven.types(job) == [
        "job.queued", "job.submitted", "job.callback", "job.copying", "output.stored", "output.stored", "job.succeeded",
    ]  # fmt: skip
    *stored, end = (await driven.events(job))[-3:]
    assert {event["data"]["job"]["status"] for event in stored} == {"copying"}
    assert end["data"]["job"]["status"] == "succeeded"
    puts = [request.key for request in s3.seen if request.operation == "PutObject"]
    assert puts[-1] == _key(job)
    assert puts.count(_key(job)) == 1


async def test_the_job_is_not_over_before_its_manifest_is_written(driven: Driven, s3: FaultyS3) -> None:
    job = await _all_stored(driven, s3)
    assert (await driven.types(job))[-1] == "output.stored"
    done = await driven.drive(job)
    assert (done["status"], s3.count("PutObject")) == ("succeeded", 1)
    assert [request.key for request in s3.seen] == [_key(job)]


async def test_without_the_flag_there_is_no_manifest_and_no_request_for_one(
    driven: Driven, faulty_s3: FaultyS3
) -> None:
    await _put_destination(driven, faulty_s3)
    spec = destination(driven.s3, driven.bucket, endpoint_url=faulty_s3.endpoint_url)
    await driven.client.put("/v1/destinations/acme", json=spec)
    job = await driven.copying()
    faulty_s3.forget()
    assert (await driven.copy(job))["status"] == "succeeded"
    assert faulty_s3.operations() == ["PutObject"]


async def test_a_test_job_writes_no_manifest(driven: Driven, s3: FaultyS3) -> None:
    s3.forget()
    job = await driven.drive(await driven.submit(test_mode={"enabled": True}))
    assert (job["status"], job["test"], job["destination"]) == ("succeeded", True, "acme")
    assert (driven.keys(), s3.seen) == ([], [])


# --- What may go wrong -----------------------------------------------------------------------------------------------


async def test_a_manifest_has_the_same_bytes_whoever_writes_it_and_whenever(driven: Driven, s3: FaultyS3) -> None:
    job = await _all_stored(driven, s3)
    await _write(driven, job)
    first = driven.s3.read(driven.bucket, _key(job))
    driven.s3.empty_bucket(driven.bucket)
    await driven.later(job, 3600)
    await driven.cancel(job)
    assert (await driven.retry(job)).status_code == 202
    assert (await driven.drive(job))["run"] == 2
    assert driven.s3.read(driven.bucket, _key(job)) == first


async def test_one_that_was_written_before_a_crash_counts(driven: Driven, s3: FaultyS3) -> None:
    job = await _all_stored(driven, s3)
    await _write(driven, job)
    before = driven.s3.read(driven.bucket, _key(job))
    done = await driven.drive(job)
    assert (done["status"], driven.s3.read(driven.bucket, _key(job))) == ("succeeded", before)
    assert (await driven.types(job)).count("job.succeeded") == 1


async def test_one_whose_write_was_cut_off_counts(driven: Driven, s3: FaultyS3) -> None:
    job = await driven.copying()
    s3.inject(Cut("answer"), "PutObject", key=_key(job), times=2)
    done = await driven.drive(job)
    assert (done["status"], _read(driven, done)["job"]) == ("succeeded", job["id"])


async def test_several_workers_at_once_write_one(driven: Driven, s3: FaultyS3) -> None:
    job = await _all_stored(driven, s3)
    for _ in range(3):
        await driven.make_due(job)
        await asyncio.gather(*(copy(driven.context, uuid(job)) for _ in range(4)))
    assert (await driven.job(job))["status"] == "succeeded"
    assert (await driven.types(job)).count("job.succeeded") == 1


async def test_one_of_an_earlier_run_counts_although_the_input_is_gone_since(driven: Driven, s3: FaultyS3) -> None:
    job = await _all_stored(driven, s3)
    await _write(driven, job)
    before = driven.s3.read(driven.bucket, _key(job))
    await driven.cancel(job)
    await driven.sql("UPDATE job_inputs SET purge_at = now() - interval '1 second'")
    await keep_house(driven.context)
    assert (await driven.retry(job)).status_code == 202
    assert (await driven.drive(job))["status"] == "succeeded"
    assert driven.s3.read(driven.bucket, _key(job)) == before


@pytest.mark.parametrize("body", [b"{}", b'{"schema": "genrelay.manifest/1"}'])
async def test_something_else_in_its_place_is_left_alone(driven: Driven, s3: FaultyS3, body: bytes) -> None:
    job = await _all_stored(driven, s3)
    target = await _target(driven)
    async with driven.context.buckets.client(target.spec) as client:
        await client.put_object(
            Bucket=driven.bucket, Key=_key(job), Body=body, Metadata={"genrelay-job": "job_of_somebody_else"}
        )
    failed = await driven.drive(job)
    assert (failed["status"], failed["error"]["code"]) == ("failed", "destination_conflict")
    assert "manifest.json" in failed["error"]["message"]
    assert driven.s3.read(driven.bucket, _key(job)) == body
    assert [output["status"] for output in failed["outputs"]] == ["stored"]


async def test_a_bucket_that_refuses_it_fails_the_job_and_retry_writes_nothing_else(
    driven: Driven, s3: FaultyS3
) -> None:
    job = await driven.copying("a lighthouse [fault:v2_envelope]", input=txt2img("a lighthouse", image_num=2))
    s3.inject(ACCESS_DENIED, "PutObject", key=_key(job), times=None)
    failed = await driven.copy(job)
    assert (failed["status"], failed["error"]["code"]) == ("failed", "destination_denied")
    assert [output["status"] for output in failed["outputs"]] == ["stored", "stored"]
    assert (await driven.types(job))[-3:] == ["output.stored", "output.stored", "job.failed"]
    s3.forget()
    assert (await driven.retry(job)).status_code == 202
    done = await driven.drive(job)
    assert done["status"] == "succeeded"
    assert {request.key for request in s3.seen} == {_key(job)}
    assert _read(driven, done)["outputs"][0]["sha256"] == done["outputs"][0]["sha256"]


async def test_a_cancel_while_it_is_written_stays_one(driven: Driven, s3: FaultyS3) -> None:
    job = await _all_stored(driven, s3)
    rule = s3.inject(Drip(pause=0.005), "PutObject", key=_key(job))

    async def asked() -> bool:
        return rule.hits > 0

    copying = asyncio.create_task(driven.copy(job))
    await until(asked)
    canceled = await driven.cancel(job)
    assert await copying == canceled
    assert (await driven.types(job))[-1] == "job.canceled"
