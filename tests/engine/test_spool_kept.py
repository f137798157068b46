"""What waits in the spool is kept as long as somebody may take it, and gets there before its source is gone."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import pytest
from structlog.testing import capture_logs

from service.crypto import Keyring
from service.engine.copying import copy
from service.engine.spooling import clean_spool, spool_rest
from tests.engine.driven import Driven, uuid
from tests.engine.large import copying_from
from tests.engine.spools import (
    another_spool,
    count_asked,
    lose_sources,
    put_destination,
    refused,
    spool_keys,
)
from tests.outputs.flowing import Source, flowing, picture
from tests.world import destination, free_port, until

ANOTHER_KEY = Keyring(["a secret key that nobody else has, of 32 characters"])


async def _be_due(driven: Driven) -> None:
    """Let everything in the spool have waited long enough."""
    await driven.sql("UPDATE outputs SET spooled_until = now() - interval '1 s' WHERE spooled_until IS NOT NULL")


async def _copy_of(driven: Driven, job: dict[str, Any], to: str = "other") -> dict[str, Any]:
    answer = await driven.client.post(f"/v1/jobs/{job['id']}/copy", json={"destination": to})
    assert answer.status_code == 202, answer.text
    return answer.json()  # type: ignore[no-any-return]


async def _check_stored(driven: Driven, job: dict[str, Any]) -> None:
    assert job["status"] == "succeeded", job
    [output] = job["outputs"]
    assert hashlib.sha256(driven.s3.read(driven.bucket, output["key"])).hexdigest() == output["sha256"]


# --- Who takes it ----------------------------------------------------------------------------------------------------


async def test_what_a_retry_is_about_to_take_is_kept_until_it_has_ended(spooling: Driven) -> None:
    driven = spooling
    job = await refused(driven)
    await lose_sources(driven)
    await put_destination(driven)
    assert (await driven.retry(job)).status_code == 202
    await _be_due(driven)
    await clean_spool(driven.context)
    assert len(spool_keys(driven)) == 1
    await _check_stored(driven, await driven.drive(job))
    await clean_spool(driven.context)
    assert spool_keys(driven) == []


async def test_what_a_copy_of_a_copy_is_about_to_take_is_kept_until_it_has_ended(spooling: Driven) -> None:
    driven = spooling
    job = await refused(driven)
    await lose_sources(driven)
    driven.sandbox.tasks.clear()
    spec = destination(driven.s3, driven.bucket, path="copies")
    assert (await driven.client.put("/v1/destinations/other", json=spec)).status_code == 201
    between = await driven.cancel(await _copy_of(driven, job))
    last = await _copy_of(driven, between)
    await _be_due(driven)
    await clean_spool(driven.context)
    assert len(spool_keys(driven)) == 1
    await _check_stored(driven, await driven.drive(last))
    await clean_spool(driven.context)
    assert spool_keys(driven) == []


async def test_a_retry_that_is_refused_after_the_time_is_up_promises_nothing(spooling: Driven) -> None:
    driven = spooling
    job = await refused(driven)
    assert (await driven.retry(job)).status_code == 202
    await _be_due(driven)
    job = await driven.drive(job)
    assert job["error"]["code"] == "destination_denied"
    assert "wait in this service's spool" not in job["error"]["hint"]


# --- A bucket that is away, and a source that ends -------------------------------------------------------------------


async def _away(driven: Driven) -> None:
    answer = await driven.client.put(
        "/v1/destinations/acme?check=false",
        json=destination(driven.s3, driven.bucket, endpoint_url=f"http://127.0.0.1:{free_port()}"),
    )
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("left", [500, -5])
async def test_what_is_about_to_be_lost_while_its_bucket_is_away_is_spooled_and_tried_on(
    spooling: Driven, left: int
) -> None:
    driven = spooling
    job = await driven.copying("a lighthouse [fault:v2_envelope]")
    await _away(driven)
    assert (await driven.copy(job))["status"] == "copying"
    assert spool_keys(driven) == []  # there is time

    await driven.sql("UPDATE outputs SET source_expires_at = now() + make_interval(secs => $1::int)", left)
    job = await driven.copy(job)
    assert (job["status"], job["outputs"][0]["spooled_until"] is None) == ("copying", False)
    assert len(spool_keys(driven)) == 1
    # It is not lost as soon any more, and nobody is alarmed.
    assert job["source_expires_at"] == job["outputs"][0]["spooled_until"]

    asked = count_asked(driven, job)
    assert (await driven.copy(job))["status"] == "copying"
    assert count_asked(driven, job) == asked
    assert len(spool_keys(driven)) == 1
    await lose_sources(driven)
    await put_destination(driven)
    await _check_stored(driven, await driven.drive(job))


# --- One process that is not like the others -------------------------------------------------------------------------


async def test_a_process_that_lacks_the_key_leaves_to_others_what_it_can_not_open(spooling: Driven) -> None:
    driven = spooling
    job = await refused(driven)
    await lose_sources(driven)
    await put_destination(driven)
    assert (await driven.retry(job)).status_code == 202
    async with another_spool(driven, ANOTHER_KEY) as context:
        await driven.make_due(job)
        await copy(context, uuid(job))
        await clean_spool(context)
    job = await driven.job(job)
    assert (job["status"], job["outputs"][0]["spooled_until"] is None) == ("copying", False)
    assert len(spool_keys(driven)) == 1
    await _check_stored(driven, await driven.drive(job))


async def test_a_process_whose_settings_name_another_bucket_takes_and_deletes_what_waits_in_the_first(
    spooling: Driven,
) -> None:
    driven = spooling
    job = await refused(driven)
    await lose_sources(driven)
    await put_destination(driven)
    assert (await driven.retry(job)).status_code == 202
    async with another_spool(driven, driven.context.keyring, bucket=driven.bucket) as context:
        await driven.make_due(job)
        await copy(context, uuid(job))
        await _check_stored(driven, await driven.job(job))
        await clean_spool(context)
    assert spool_keys(driven) == []
    assert await driven.sql("SELECT FROM uploads") == []


# --- Copies of a job -------------------------------------------------------------------------------------------------


async def _spooled_copy(driven: Driven) -> dict[str, Any]:
    """Return a copy of a stored job that was refused and waits in the spool; no URL is of any use."""
    job = await driven.drive(await driven.called_back())
    assert job["status"] == "succeeded"
    spec = destination(driven.s3, "there-is-no-such-bucket")
    assert (await driven.client.put("/v1/destinations/other?check=false", json=spec)).status_code == 201
    copied = await driven.drive(await _copy_of(driven, job))
    assert copied["outputs"][0]["spooled_until"] is not None
    await lose_sources(driven)
    driven.sandbox.tasks.clear()
    return copied


async def test_a_copy_goes_on_to_the_next_one_that_has_the_file_while_the_spool_can_not_be_read(
    spooling: Driven,
) -> None:
    driven = spooling
    last = await _copy_of(driven, await _spooled_copy(driven), "acme")
    async with another_spool(driven, ANOTHER_KEY) as context:
        for _ in range(2):  # it turns away from the provider's URL first
            await driven.make_due(last)
            await copy(context, uuid(last))
    await _check_stored(driven, await driven.job(last))


async def test_a_copy_goes_on_to_the_next_one_that_has_the_file_when_what_waits_is_broken(spooling: Driven) -> None:
    driven = spooling
    last = await _copy_of(driven, await _spooled_copy(driven), "acme")
    spool = driven.context.spool
    assert spool is not None
    [key] = spool_keys(driven)
    sealed = bytearray(driven.s3.read(spool.spec.bucket, key))
    sealed[-1] ^= 1
    async with driven.context.buckets.client(spool.spec) as s3:
        await s3.put_object(Bucket=spool.spec.bucket, Key=key, Body=bytes(sealed))
    with capture_logs() as logs:
        await _check_stored(driven, await driven.drive(last))
    assert [line["event"] for line in logs if line["event"] == "spool.lost"] == ["spool.lost"]


# --- Memory ----------------------------------------------------------------------------------------------------------


async def test_an_output_that_waits_for_memory_to_be_spooled_holds_no_connection_meanwhile(spooling: Driven) -> None:
    driven = spooling
    async with flowing(Source(picture(8 * 2**20))) as source:  # more than fits into the sockets' buffers
        job = await copying_from(driven, source)
        async with driven.context.budget.reserve(driven.context.budget.total):
            spooling_it = asyncio.create_task(spool_rest(driven.context, await driven.row(job)))

            async def waits() -> bool:
                return driven.context.budget.waiting == 1 and source.begun == source.ended == 1

            await until(waits)
        assert await spooling_it is not None
        assert (source.begun, len(spool_keys(driven)), driven.context.budget.held) == (2, 1, 0)
