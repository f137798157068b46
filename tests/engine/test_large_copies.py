"""Copying what is too large to be held whole: in parts, while it comes, and each output once all the same."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from service.db.sql import queries
from service.demo.s3server import S3Server
from service.engine.copying import copy
from service.engine.ledger import outputs_of
from service.engine.order import OutputOrder
from service.engine.uploads import sweep_uploads
from service.outputs.destinations import read_target
from service.outputs.inspecting import Content
from service.outputs.multipart import NotWanted
from service.outputs.transfer import Written
from tests.engine.driven import Driven, uuid
from tests.engine.large import (
    LARGE,
    PART,
    admin,
    begun,
    check_stored,
    copying_from,
    large_world,
    open_uploads,
)
from tests.faulty_s3 import ACCESS_DENIED, CONFLICT, FaultyS3
from tests.outputs.flowing import Source, flowing, picture
from tests.outputs.orders import composite
from tests.world import destination, until

# What a worker does before it completes a file.
_FIXED = (
    "UPDATE outputs SET status = 'writing', sha256 = $1, bytes = 3, key = 'k', bucket = $2, media_type = 'image/bmp',"
    " extension = 'bmp'"
)


@pytest.fixture
async def driven(database_url: str, s3_server: S3Server, bucket: str) -> AsyncIterator[Driven]:
    """A world that writes in parts whatever has more than 64 KiB."""
    async with large_world(database_url, s3_server, bucket) as running:
        yield running


@pytest.mark.parametrize("announced", [True, False])
async def test_a_large_output_is_written_in_parts_that_are_checked_on_the_way(driven: Driven, announced: bool) -> None:
    async with flowing(Source(LARGE, announced)) as source:
        job = await driven.copy(await copying_from(driven, source))
    await check_stored(driven, job, LARGE)
    [output] = job["outputs"]
    assert (output["key"], output["media_type"]) == (f"renders/{job['id']}/00.bmp", "image/bmp")
    head = admin(driven).head_object(Bucket=driven.bucket, Key=output["key"], ChecksumMode="ENABLED")
    [row] = await driven.sql("SELECT * FROM outputs")
    assert head["ChecksumSHA256"] == row["checksum"] == composite(LARGE, PART)
    assert (row["part_bytes"], head["ContentType"]) == (PART, "image/bmp")
    assert head["Metadata"] == {
        "genrelay-job": job["id"], "genrelay-output": "0", "genrelay-provider": "novita", "genrelay-mark": row["mark"],
    }  # fmt: skip


async def test_an_upload_that_may_be_open_is_written_down_while_it_is(driven: Driven) -> None:
    async with flowing(Source(LARGE, stop_at=PART + 1)) as source:
        job = await copying_from(driven, source)
        copying = asyncio.create_task(driven.copy(job))
        await begun(driven, source)
        [row] = await driven.sql("SELECT * FROM uploads")
        assert (row["job_id"], row["index"], row["bucket"]) == (uuid(job), 0, driven.bucket)
        assert (row["key"], row["worker_id"]) == (f"renders/{job['id']}/00.bmp", driven.context.worker_id)
        assert open_uploads(driven) == [row["key"]]
        await sweep_uploads(driven.context)  # leaves alone what a living worker is at
        source.go_on.set()
        await check_stored(driven, await copying, LARGE)


async def test_a_cancel_in_the_middle_aborts_the_upload_and_does_not_wait_for_the_file(
    database_url: str, s3_server: S3Server, bucket: str
) -> None:
    hasty = {"GENRELAY_ENGINE__HEARTBEAT_SECONDS": "1"}
    async with (
        large_world(database_url, s3_server, bucket, **hasty) as driven,
        flowing(Source(LARGE, stop_at=PART + 1)) as source,
    ):
        job = await copying_from(driven, source)
        copying = asyncio.create_task(copy(driven.context, uuid(job)))
        await begun(driven, source)
        canceled = await driven.cancel(job)

        async def is_over() -> bool:
            return copying.done()

        await until(is_over)  # although the source still keeps it waiting
        await copying
        assert await driven.job(job) == canceled
        assert (driven.keys(), open_uploads(driven)) == ([], [])
        await sweep_uploads(driven.context)
        assert await driven.sql("SELECT * FROM uploads") == []
        assert driven.context.budget.held == 0


async def test_a_cancel_right_before_the_end_leaves_no_object(driven: Driven) -> None:
    async with flowing(Source(LARGE, stop_at=PART + 1)) as source:
        job = await copying_from(driven, source)
        copying = asyncio.create_task(copy(driven.context, uuid(job)))
        await begun(driven, source)
        canceled = await driven.cancel(job)
        source.go_on.set()
        await copying
        assert await driven.job(job) == canceled
    assert (driven.keys(), open_uploads(driven)) == ([], [])


async def test_a_worker_that_is_stopped_in_the_middle_aborts_the_upload(driven: Driven) -> None:
    async with flowing(Source(LARGE, stop_at=PART + 1)) as source:
        job = await copying_from(driven, source)
        copying = asyncio.create_task(copy(driven.context, uuid(job)))
        await begun(driven, source)
        copying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await copying
        assert (driven.keys(), open_uploads(driven)) == ([], [])
        source.go_on.set()
        await check_stored(driven, await driven.copy(job), LARGE, swept=True)


@pytest.mark.parametrize("cut_at", [3000, PART + 1, len(LARGE) - 1])
async def test_a_large_file_that_breaks_off_is_fetched_anew_and_nothing_of_it_is_left(
    driven: Driven, cut_at: int
) -> None:
    async with flowing(Source(LARGE, cut_at=cut_at)) as source:
        job = await driven.copy(await copying_from(driven, source))
        assert job["status"] == "copying"
        assert (driven.keys(), open_uploads(driven)) == ([], [])
        source.cut_at = None
        await check_stored(driven, await driven.copy(job), LARGE, swept=True)
        assert source.begun == 2


async def test_a_large_file_that_is_altered_to_nothing_we_store_becomes_no_object(driven: Driven) -> None:
    async with flowing(Source(LARGE[: PART + 5])) as source:
        job = await driven.drive(await copying_from(driven, source))
    assert (job["status"], job["error"]["code"]) == ("failed", "output_rejected")
    assert (driven.keys(), open_uploads(driven)) == ([], [])
    assert await driven.sql("SELECT * FROM uploads") == []


async def test_something_else_under_the_key_of_a_large_output_is_left_alone(driven: Driven) -> None:
    async with flowing(Source(LARGE)) as source:
        job = await copying_from(driven, source)
        key = f"renders/{job['id']}/00.bmp"
        admin(driven).put_object(Bucket=driven.bucket, Key=key, Body=b"precious")
        job = await driven.drive(job)
    assert (job["status"], job["error"]["code"]) == ("failed", "destination_conflict")
    assert driven.s3.read(driven.bucket, key) == b"precious"
    assert open_uploads(driven) == []


# --- Two at the same output -----------------------------------------------------------------------------------------


async def test_two_workers_at_the_same_large_output_store_it_once(driven: Driven) -> None:
    async with flowing(Source(LARGE, stop_at=PART + 1)) as source:
        job = await copying_from(driven, source)
        first = asyncio.create_task(copy(driven.context, uuid(job)))
        await begun(driven, source)
        # The first one's lease is over, as if it had been stopped for a while.
        await driven.make_due(job)
        second = asyncio.create_task(copy(driven.context, uuid(job)))

        async def both() -> bool:
            return len(await driven.sql("SELECT FROM uploads WHERE upload_id IS NOT NULL")) == 2

        await until(both)
        source.go_on.set()
        await asyncio.gather(first, second)
        job = await driven.drive(await driven.job(job))
        await check_stored(driven, job, LARGE)
        types = await driven.types(job)
        assert (types.count("output.stored"), types.count("job.succeeded")) == (1, 1)


async def test_all_uploads_of_one_output_have_the_same_mark_until_its_object_is_known_to_be_absent(
    driven: Driven,
) -> None:
    """So that each of two workers knows the other's object for its own, also where S3 keeps no checksums."""
    job = await driven.copying()
    row = await driven.row(job)
    found = await queries().get_destination_by_id(driven.service.pool, id=row.destination_id)
    target = read_target(driven.service.keyring, found, None, ())
    async with driven.service.pool.acquire() as connection:
        [output] = await outputs_of(connection, row.id)
    orders = [OutputOrder(driven.context, row, target, output) for _ in range(3)]
    mark = await orders[0].begin("k")
    assert await orders[1].begin("k") == mark
    written = Written("k", 3, hashlib.sha256(b"abc").digest(), Content("image/bmp", "bmp"), "another", PART, "sum")
    fixed = await orders[1].fix(written)
    assert fixed is not None
    assert fixed.mark == mark
    await queries().unfix_output(driven.service.pool, job_id=row.id, index=0, sha256=written.sha256)
    assert await orders[2].begin("k") != mark
    await driven.sql("UPDATE outputs SET status = 'writing', sha256 = $1", written.sha256)
    await driven.sql("UPDATE outputs SET status = 'stored', stored_at = now()")
    with pytest.raises(NotWanted):
        await OutputOrder(driven.context, row, target, output).begin("k")
    await driven.cancel(job)
    with pytest.raises(NotWanted):
        await OutputOrder(driven.context, row, target, output).begin("k")


async def test_of_two_workers_with_different_files_only_the_one_that_fixed_its_file_writes(driven: Driven) -> None:
    other = picture(len(LARGE), seed=2)
    async with flowing(Source(LARGE, stop_at=len(LARGE) - 5)) as slow, flowing(Source(other)) as quick:
        job = await copying_from(driven, slow)
        first = asyncio.create_task(copy(driven.context, uuid(job)))
        await begun(driven, slow)
        await driven.sql("UPDATE outputs SET source_url = $1", quick.url)
        await check_stored_so_far(driven, await driven.copy(job), other)
        slow.go_on.set()
        await first
        await check_stored(driven, await driven.job(job), other)


async def check_stored_so_far(driven: Driven, job: dict[str, Any], body: bytes) -> None:
    assert job["status"] == "succeeded", job
    assert driven.s3.read(driven.bucket, job["outputs"][0]["key"]) == body


async def test_what_another_worker_fixed_is_not_written_with_another_content(driven: Driven) -> None:
    """The first has fixed its file and not completed it yet; the second, which began before that, has another file."""
    async with flowing(Source(LARGE, stop_at=PART + 1)) as source:
        job = await copying_from(driven, source)
        copying = asyncio.create_task(copy(driven.context, uuid(job)))
        await begun(driven, source)
        theirs = hashlib.sha256(b"abc").digest()
        await driven.sql(_FIXED, theirs, driven.bucket)
        source.go_on.set()
        await copying
        assert (driven.keys(), open_uploads(driven)) == ([], [])
        [row] = await driven.sql("SELECT * FROM outputs")
        assert (row["sha256"], row["status"]) == (theirs, "writing")


# --- After a crash --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("known_by", ["mark", "checksum"])
async def test_a_large_object_of_ours_from_before_a_crash_is_not_written_again(driven: Driven, known_by: str) -> None:
    async with flowing(Source(LARGE)) as source:
        job = await driven.copy(await copying_from(driven, source))
        await check_stored(driven, job, LARGE)
        # As it was right after the completion, before anybody wrote down that it is done.
        await driven.sql("UPDATE jobs SET status = 'copying', completed_at = NULL, due_at = now(), last_event = 4")
        await driven.sql("DELETE FROM events WHERE sequence > 4")
        await driven.sql("UPDATE outputs SET status = 'writing', stored_at = NULL")
        forgotten = "checksum" if known_by == "mark" else "mark"
        await driven.sql(f"UPDATE outputs SET {forgotten} = NULL")
        job = await driven.copy(job)
        assert source.begun == 1
    await check_stored(driven, job, LARGE)


async def test_an_object_that_can_not_be_looked_at_after_a_crash_counts_as_absent(
    driven: Driven, faulty_s3: FaultyS3
) -> None:
    """Who may not list a bucket gets 403 for an object that is not there."""
    there = destination(driven.s3, driven.bucket, endpoint_url=faulty_s3.endpoint_url)
    assert (await driven.client.put("/v1/destinations/acme?check=false", json=there)).is_success
    async with flowing(Source(LARGE)) as source:
        job = await copying_from(driven, source)
        await driven.sql(_FIXED, hashlib.sha256(b"abc").digest(), driven.bucket)
        faulty_s3.inject(ACCESS_DENIED, "HeadObject")
        job = await driven.copy(job)
    await check_stored(driven, job, LARGE)


async def test_a_conflict_with_another_write_begins_anew(driven: Driven, faulty_s3: FaultyS3) -> None:
    there = destination(driven.s3, driven.bucket, endpoint_url=faulty_s3.endpoint_url)
    assert (await driven.client.put("/v1/destinations/acme?check=false", json=there)).is_success
    faulty_s3.inject(CONFLICT, "CompleteMultipartUpload")
    async with flowing(Source(LARGE)) as source:
        job = await driven.drive(await copying_from(driven, source))
    await check_stored(driven, job, LARGE)
    assert faulty_s3.count("CompleteMultipartUpload") == 2


# --- Files out of answers -------------------------------------------------------------------------------------------


async def test_a_large_file_that_came_inside_an_answer_goes_in_parts_too(driven: Driven) -> None:
    job = await driven.copying()
    await queries().keep_inline(driven.service.pool, job_id=uuid(job), indexes=[0], bodies=[LARGE])
    await driven.sql("UPDATE outputs SET inline = true, source_url = NULL")
    job = await driven.copy(job)
    await check_stored(driven, job, LARGE)
    assert (await driven.sql("SELECT part_bytes FROM outputs"))[0]["part_bytes"] == PART
    assert await driven.sql("SELECT FROM inline_outputs") == []


async def test_a_large_file_that_comes_as_text_goes_in_parts_too(driven: Driven) -> None:
    async with flowing(Source(base64.b64encode(LARGE))) as source:
        job = await copying_from(driven, source)
        await driven.sql("UPDATE outputs SET encoded = true")
        await check_stored(driven, await driven.copy(job), LARGE)


async def test_an_output_that_waits_for_memory_holds_no_connection_meanwhile(driven: Driven) -> None:
    async with flowing(Source(LARGE)) as source:
        job = await copying_from(driven, source)
        async with driven.context.budget.reserve(driven.context.budget.total):
            copying = asyncio.create_task(driven.copy(job))

            async def waits() -> bool:
                return driven.context.budget.waiting == 1 and source.begun == source.ended == 1

            await until(waits)
        await check_stored(driven, await copying, LARGE)
        assert source.begun == 2


async def test_a_file_that_has_grown_while_its_output_waited_for_memory_is_tried_again(driven: Driven) -> None:
    async with flowing(Source(LARGE[: PART // 2])) as source:
        job = await copying_from(driven, source)
        async with driven.context.budget.reserve(driven.context.budget.total):
            copying = asyncio.create_task(driven.copy(job))

            async def waits() -> bool:
                return driven.context.budget.waiting == 1

            await until(waits)
            source.body = LARGE
        assert (await copying)["status"] == "copying"
        await check_stored(driven, await driven.drive(job), LARGE)
