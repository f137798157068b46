"""What a customer's bucket refuses waits in the operator's spool, and gets from there to where it belongs."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from service.db.sql import queries
from service.demo.s3server import S3Server
from service.engine.copying import copy
from service.engine.housekeeping import keep_house
from service.engine.spooling import clean_spool, spool_rest
from service.outputs.spool import UNNAMED
from service.sandbox import SandboxSettings
from tests.engine.driven import Driven, driven_world, uuid
from tests.engine.spools import (
    SPOOL,
    count_asked,
    lose_sources,
    put_destination,
    refused,
    retried,
    seen_by,
    spool_keys,
    spool_settings,
)
from tests.world import free_port, until


def _counted(outcome: str) -> float:
    return REGISTRY.get_sample_value("genrelay_spooled_total", {"outcome": outcome}) or 0.0


async def test_what_was_refused_is_stored_by_a_retry_although_its_source_is_gone(spooling: Driven) -> None:
    driven, before = spooling, _counted("spooled")
    job = await refused(driven, "a lighthouse [fault:v2_envelope]")
    [output] = job["outputs"]
    assert output["spooled_until"] is not None
    assert (output["status"], output["url"]) == ("writing", None)
    assert f"wait in this service's spool until {output['spooled_until']}" in job["error"]["hint"]
    failed = (await driven.events(job))[-1]
    assert failed["type"] == "job.failed"
    assert failed["data"]["job"]["outputs"] == job["outputs"]
    assert _counted("spooled") == before + 1

    [key] = spool_keys(driven)
    assert key.startswith(f"waiting/{job['id']}/00-")
    sealed = driven.s3.read(driven.context.settings.spool.bucket or "", key)
    await lose_sources(driven)
    asked = count_asked(driven, job)
    assert asked[0] > 0
    await put_destination(driven)
    job = await retried(driven, job)

    assert job["status"] == "succeeded"
    [output] = job["outputs"]
    stored = driven.s3.read(driven.bucket, output["key"])
    assert hashlib.sha256(stored).hexdigest() == output["sha256"]
    assert output["spooled_until"] is None
    assert count_asked(driven, job) == asked
    # Nothing of the picture could be read in the spool.
    assert len(sealed) > len(stored)
    assert not any(stored[at : at + 12] in sealed for at in range(len(stored) - 12))

    assert spool_keys(driven) == [key]  # until the housekeeping comes
    await keep_house(driven.context)
    assert spool_keys(driven) == []
    assert await _rows(driven) == ([(None, None, None, None)], [])


async def _rows(driven: Driven) -> tuple[list[Any], list[Any]]:
    outputs = await driven.sql("SELECT spool_key, spool_secret, spool_bytes, spooled_until FROM outputs ORDER BY index")
    uploads = await driven.sql("SELECT key, due_at IS NOT NULL FROM uploads WHERE destination_id IS NULL ORDER BY key")
    return [tuple(row) for row in outputs], [tuple(row) for row in uploads]


async def test_a_conflict_spools_what_is_not_stored_and_nothing_else(spooling: Driven) -> None:
    driven = spooling
    job = await driven.copying("a lighthouse [fault:more_images]")
    async with driven.context.buckets.client(_customers(driven)) as s3:
        await s3.put_object(Bucket=driven.bucket, Key=f"renders/{job['id']}/01.jpeg", Body=b"precious")
    job = await driven.copy(job)
    assert job["error"]["code"] == "destination_conflict"
    assert [bool(output["spooled_until"]) for output in job["outputs"]] == [False, True]
    assert [key.split("/")[2][:3] for key in spool_keys(driven)] == ["01-"]


def _customers(driven: Driven) -> Any:
    assert driven.context.spool is not None
    return replace(driven.context.spool.spec, bucket=driven.bucket, endpoint_url=driven.s3.endpoint_url)


async def test_a_bucket_that_is_away_is_tried_to_the_end_before_anything_is_spooled(
    database_url: str, s3_server: S3Server, bucket: str, spool_bucket: str
) -> None:
    more = {**spool_settings(s3_server, spool_bucket), "GENRELAY_OUTPUTS__MAX_ATTEMPTS": "2"}
    async with driven_world(database_url, s3_server, bucket, **more) as driven:
        job = await driven.copying()
        await put_destination(driven, endpoint_url=f"http://127.0.0.1:{free_port()}")
        job = await driven.copy(job)
        assert (job["status"], spool_keys(driven)) == ("copying", [])
        job = await driven.copy(job)
        assert job["error"]["code"] == "destination_unavailable"
        assert job["outputs"][0]["spooled_until"] is not None
        assert len(spool_keys(driven)) == 1


async def test_passing_trouble_does_not_keep_an_output_from_being_spooled(spooling: Driven) -> None:
    driven = spooling
    job = await driven.copying("a lighthouse [fault:image_503=2]")
    assert await spool_rest(driven.context, await driven.row(job)) is not None
    assert len(spool_keys(driven)) == 1
    assert count_asked(driven, job)[0] == 3


@pytest.mark.parametrize("fault", ["wrong_type", "image_404"])
async def test_what_is_nothing_that_we_store_is_not_spooled_either(spooling: Driven, fault: str) -> None:
    driven = spooling
    job = await driven.copying(f"a lighthouse [fault:{fault}]")
    before = _counted("source")
    await spool_rest(driven.context, await driven.row(job))
    assert spool_keys(driven) == []
    assert _counted("source") == before + 1


async def test_an_output_that_is_refused_while_the_bucket_is_fine_spools_nothing(spooling: Driven) -> None:
    driven = spooling
    # The other one could be fetched at the next try, but the bucket has nothing against it.
    job = await driven.copying("a lighthouse [fault:more_images] [fault:image_503=1]")
    await driven.sql("UPDATE outputs SET source_url = 'https://169.254.169.254/' WHERE index = 1")
    job = await driven.copy(job)
    assert (job["status"], job["error"]["code"]) == ("failed", "output_rejected")
    assert spool_keys(driven) == []
    assert "spool" not in job["error"]["hint"]


async def test_one_rejected_output_does_not_keep_another_from_being_spooled(spooling: Driven) -> None:
    driven = spooling
    job = await driven.copying("a lighthouse [fault:more_images]")
    await driven.sql("UPDATE outputs SET source_url = 'https://169.254.169.254/' WHERE index = 0")
    await put_destination(driven, driven.s3.reader)
    job = await driven.copy(job)
    assert job["status"] == "failed"
    assert [bool(output["spooled_until"]) for output in job["outputs"]] == [False, True]


async def test_a_job_fails_in_its_time_although_the_spool_refuses_too(
    database_url: str, s3_server: S3Server, bucket: str, spool_bucket: str
) -> None:
    reader = s3_server.reader
    more = {
        **spool_settings(s3_server, spool_bucket),
        SPOOL + "ACCESS_KEY_ID": reader.access_key_id, SPOOL + "SECRET_ACCESS_KEY": reader.secret_access_key,
    }  # fmt: skip
    async with driven_world(database_url, s3_server, bucket, **more) as driven:
        before = _counted("spool")
        with capture_logs() as logs:
            job = await refused(driven)
        assert "spool" not in job["error"]["hint"]
        assert job["outputs"][0]["spooled_until"] is None
        assert _counted("spool") == before + 1
        [told] = [line for line in logs if line["event"] == "output.not_spooled"]
        assert (told["outcome"], told["job_id"]) == ("spool", job["id"])


async def test_without_a_spool_the_job_just_fails(driven: Driven) -> None:
    job = await refused(driven)
    assert job["outputs"][0]["spooled_until"] is None
    assert "spool" not in job["error"]["hint"]


async def test_a_retry_that_is_refused_again_leaves_in_the_spool_what_is_there(spooling: Driven) -> None:
    driven = spooling
    job = await refused(driven)
    waiting = spool_keys(driven)
    again = await retried(driven, job)
    assert (again["status"], again["run"]) == ("failed", 2)
    assert again["outputs"][0]["spooled_until"] == job["outputs"][0]["spooled_until"]
    assert "spool" in again["error"]["hint"]
    assert spool_keys(driven) == waiting


@pytest.mark.parametrize("change", ["gone", "altered"])
async def test_a_spool_that_has_lost_the_file_leaves_the_providers_url(spooling: Driven, change: str) -> None:
    driven = spooling
    job = await refused(driven)
    [key] = spool_keys(driven)
    spool = driven.context.spool
    assert spool is not None
    if change == "gone":
        await spool.delete(key)
    else:
        sealed = bytearray(driven.s3.read(spool.spec.bucket, key))
        sealed[-1] ^= 1
        async with driven.context.buckets.client(spool.spec) as s3:
            await s3.put_object(Bucket=spool.spec.bucket, Key=key, Body=bytes(sealed))
    await put_destination(driven)
    with capture_logs() as logs:
        job = await retried(driven, job)
    assert job["status"] == "succeeded"
    stored = driven.s3.read(driven.bucket, job["outputs"][0]["key"])
    assert hashlib.sha256(stored).hexdigest() == job["outputs"][0]["sha256"]
    assert [line["log_level"] for line in logs if line["event"] == "spool.lost"] == ["error"]
    await clean_spool(driven.context)
    assert spool_keys(driven) == []


async def test_what_nobody_fetches_is_deleted_in_time_also_for_a_canceled_job(spooling: Driven) -> None:
    driven = spooling
    job = await refused(driven)
    await driven.retry(job)
    assert (await driven.cancel(job))["status"] == "canceled"
    await clean_spool(driven.context)
    assert len(spool_keys(driven)) == 1
    assert REGISTRY.get_sample_value("genrelay_spool_objects", {"state": "waiting"}) == 1
    for left, ending in (("25 hours", 0), ("23 hours", 1)):
        await driven.sql("UPDATE outputs SET spooled_until = now() + $1::text::interval", left)
        await clean_spool(driven.context)
        assert REGISTRY.get_sample_value("genrelay_spool_ending") == ending
    await driven.sql("UPDATE outputs SET spooled_until = now()")
    await clean_spool(driven.context)
    assert spool_keys(driven) == []
    assert REGISTRY.get_sample_value("genrelay_spool_objects", {"state": "waiting"}) == 0
    assert REGISTRY.get_sample_value("genrelay_spool_ending") == 0
    assert (await driven.job(job))["outputs"][0]["spooled_until"] is None


async def test_what_can_not_be_deleted_is_tried_again_later(spooling: Driven) -> None:
    driven = spooling
    await refused(driven)
    await driven.sql("UPDATE outputs SET spooled_until = now()")
    async with seen_by(driven, driven.s3.reader) as context:
        await clean_spool(context)
    assert len(spool_keys(driven)) == 1
    assert REGISTRY.get_sample_value("genrelay_spool_objects", {"state": "leaving"}) == 1
    await clean_spool(driven.context)  # not yet
    assert len(spool_keys(driven)) == 1
    await driven.sql("UPDATE uploads SET due_at = now()")
    await clean_spool(driven.context)
    assert (spool_keys(driven), (await _rows(driven))[1]) == ([], [])


async def test_a_cancel_while_it_is_spooled_ends_that_and_leaves_nothing_there(
    database_url: str, s3_server: S3Server, bucket: str, spool_bucket: str
) -> None:
    more = {**spool_settings(s3_server, spool_bucket), "GENRELAY_ENGINE__HEARTBEAT_SECONDS": "0.4"}
    sandbox = SandboxSettings(lean=True, lean_image_bytes=200_000)
    async with driven_world(database_url, s3_server, bucket, sandbox=sandbox, **more) as driven:
        job = await driven.copying("a lighthouse [fault:slow_image=20]")
        await _forget_secret(driven)
        copying = asyncio.create_task(copy(driven.context, uuid(job)))

        async def begun() -> bool:
            return bool((await _rows(driven))[1])

        await until(begun)
        assert (await driven.cancel(job))["status"] == "canceled"
        await copying
        await clean_spool(driven.context)
        assert (spool_keys(driven), await _rows(driven)) == ([], ([(None, None, None, None)], []))


async def _forget_secret(driven: Driven) -> None:
    """Let the destination be one that can't be used, which needs no download to be found out."""
    await driven.sql("UPDATE destinations SET secret = ''")


async def test_two_workers_at_the_same_spool_leave_one_object(spooling: Driven) -> None:
    driven = spooling
    job = await driven.copying()
    row = await driven.row(job)
    first, second = await asyncio.gather(*(spool_rest(driven.context, row) for _ in range(2)))
    assert first == second is not None
    await clean_spool(driven.context)
    [key] = spool_keys(driven)
    assert (await driven.sql("SELECT spool_key FROM outputs"))[0]["spool_key"] == key
    assert (await _rows(driven))[1] == []


async def _planned(driven: Driven, job: dict[str, Any], worker: UUID, upload_id: str | None = None) -> dict[str, Any]:
    """Do what a worker does before it has written an object into the spool; returns the row's values."""
    spool = driven.context.spool
    assert spool is not None
    plan = {
        "id": uuid4(), "job_id": uuid(job), "index": 0, "bucket": spool.spec.bucket, "key": spool.new_key(uuid(job), 0),
        "worker_id": worker,
    }  # fmt: skip
    await queries().plan_spooling(driven.service.pool, **plan)
    if upload_id is not None:
        await queries().name_spooling(driven.service.pool, id=plan["id"], upload_id=upload_id)
    return plan


async def test_what_a_crash_left_in_the_spool_is_deleted_and_the_copy_begins_again(spooling: Driven) -> None:
    driven = spooling
    job = await driven.copying()
    spool = driven.context.spool
    assert spool is not None
    written, begun = await _planned(driven, job, uuid4()), await _planned(driven, job, uuid4(), UNNAMED)
    async with driven.context.buckets.client(spool.spec) as s3:
        await s3.put_object(Bucket=spool.spec.bucket, Key=written["key"], Body=b"sealed")
        await s3.create_multipart_upload(Bucket=spool.spec.bucket, Key=begun["key"])
        await clean_spool(driven.context)
        answer = await s3.list_multipart_uploads(Bucket=spool.spec.bucket)
    assert answer.get("Uploads", []) == []
    assert (spool_keys(driven), (await _rows(driven))[1]) == ([], [])
    assert (await driven.copy(job))["status"] == "succeeded"


async def test_what_a_living_worker_is_about_is_left_alone(spooling: Driven) -> None:
    driven = spooling
    job = await driven.copying()
    plan = await _planned(driven, job, driven.context.worker_id)
    await clean_spool(driven.context)
    assert (await _rows(driven))[1] == [(plan["key"], False)]


async def test_a_worker_that_was_taken_for_dead_records_nothing_that_was_deleted(spooling: Driven) -> None:
    driven = spooling
    job = await driven.copying()
    plan = await _planned(driven, job, uuid4())
    taken = queries().take_spool_leavings(driven.service.pool, silence=12.0, pause=600.0, limit=10)
    assert [row["key"] async for row in taken] == [plan["key"]]
    found = await queries().record_spooled(
        driven.service.pool, upload=plan["id"], job_id=uuid(job), run=1, index=0, key=plan["key"], secret=b"", bytes=1,
        keep=60.0,
    )  # fmt: skip
    assert found is None
    assert (await driven.job(job))["outputs"][0]["spooled_until"] is None


@pytest.mark.parametrize("change", ["run = 2", "status = 'canceled', completed_at = now(), due_at = NULL"])
async def test_nothing_is_recorded_for_another_run_or_a_job_that_is_over(spooling: Driven, change: str) -> None:
    driven = spooling
    job = await driven.copying()
    row = await driven.row(job)
    await driven.sql(f"UPDATE jobs SET {change}")
    assert await spool_rest(driven.context, row) is None
    await clean_spool(driven.context)
    assert (spool_keys(driven), await _rows(driven)) == ([], ([(None, None, None, None)], []))


async def test_a_test_job_is_never_spooled(spooling: Driven) -> None:
    driven = spooling
    job = await driven.drive(await driven.submit(test_mode={"enabled": True}))
    assert job["status"] == "succeeded"
    assert await spool_rest(driven.context, await driven.row(job)) is None
    assert spool_keys(driven) == []


async def test_a_large_output_goes_in_parts_and_comes_back(
    database_url: str, s3_server: S3Server, bucket: str, spool_bucket: str
) -> None:
    more = {**spool_settings(s3_server, spool_bucket), "GENRELAY_OUTPUTS__PART_BYTES": str(5 * 2**20)}
    sandbox = SandboxSettings(lean=True, lean_image_bytes=6 * 2**20)
    async with driven_world(database_url, s3_server, bucket, sandbox=sandbox, **more) as driven:
        job = await refused(driven, "a lighthouse [fault:v2_envelope]")
        [row] = await driven.sql("SELECT spool_bytes FROM outputs")
        assert row["spool_bytes"] > 5 * 2**20
        assert driven.context.budget.held == 0
        await lose_sources(driven)
        asked = count_asked(driven, job)
        await put_destination(driven)
        job = await retried(driven, job)
        assert (job["status"], count_asked(driven, job)) == ("succeeded", asked)
        stored = driven.s3.read(driven.bucket, job["outputs"][0]["key"])
        assert hashlib.sha256(stored).hexdigest() == job["outputs"][0]["sha256"]


async def test_the_lease_is_held_while_the_outputs_are_spooled(
    database_url: str, s3_server: S3Server, bucket: str, spool_bucket: str
) -> None:
    more = {**spool_settings(s3_server, spool_bucket), "GENRELAY_ENGINE__HEARTBEAT_SECONDS": "0.4"}
    async with driven_world(database_url, s3_server, bucket, **more) as driven:
        job = await driven.copying("a lighthouse [fault:slow_image=1.5]")
        await _forget_secret(driven)
        await driven.make_due(job)
        await asyncio.gather(copy(driven.context, uuid(job)), _copy_whenever_due(driven, job))
        assert len(spool_keys(driven)) == 1
        assert count_asked(driven, job)[0] == 1


async def _copy_whenever_due(driven: Driven, job: dict[str, Any]) -> None:
    """Be the sweep and another worker: whoever loses the lease is joined at once."""

    async def ended() -> bool:
        await copy(driven.context, uuid(job))
        return (await driven.job(job))["completed_at"] is not None

    await until(ended)
