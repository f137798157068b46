"""The sweep of uploads: what crashes have left open is aborted, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from service.demo.s3server import S3Server
from service.engine.copying import copy
from service.engine.uploads import sweep_uploads
from service.ids import new_uuid
from service.outputs.multipart import list_uploads
from tests.engine.driven import Driven, uuid
from tests.engine.large import (
    LARGE,
    PART,
    abort_all,
    admin,
    begun,
    check_stored,
    copying_from,
    large_world,
    open_uploads,
)
from tests.faulty_s3 import ACCESS_DENIED, INTERNAL_ERROR, Cut, FaultyS3, Stall
from tests.outputs.flowing import Source, flowing
from tests.world import destination, until


@pytest.fixture
async def driven(database_url: str, s3_server: S3Server, bucket: str) -> AsyncIterator[Driven]:
    """A world that writes in parts whatever has more than 64 KiB."""
    async with large_world(database_url, s3_server, bucket) as running:
        yield running


async def left_behind(driven: Driven, job: dict[str, Any], key: str, *, named: bool, dead: bool = True) -> None:
    """Leave an open upload, and the row that tells of it, as a worker does that dies."""
    upload_id = admin(driven).create_multipart_upload(Bucket=driven.bucket, Key=key)["UploadId"]
    row = await driven.row(job)
    await driven.sql(
        "INSERT INTO uploads (id, job_id, index, destination_id, bucket, key, upload_id, worker_id)"
        " VALUES ($1, $2, 0, $3, $4, $5, $6, $7)",
        new_uuid(), row.id, row.destination_id, driven.bucket, key, upload_id if named else None,
        new_uuid() if dead else driven.context.worker_id,
    )  # fmt: skip


async def test_the_sweep_aborts_what_dead_workers_left(driven: Driven) -> None:
    job = await driven.copying()
    await left_behind(driven, job, "named", named=True)
    await left_behind(driven, job, "nameless", named=False)
    await left_behind(driven, job, "alive", named=True, dead=False)
    admin(driven).create_multipart_upload(Bucket=driven.bucket, Key="nameless-not-ours")
    await sweep_uploads(driven.context)
    assert sorted(open_uploads(driven)) == ["alive", "nameless-not-ours"]
    assert [row["key"] for row in await driven.sql("SELECT key FROM uploads")] == ["alive"]
    await abort_all(driven)


async def test_the_sweep_finds_a_nameless_upload_without_touching_the_one_that_is_under_way(driven: Driven) -> None:
    async with flowing(Source(LARGE, stop_at=PART + 1)) as source:
        job = await copying_from(driven, source)
        await left_behind(driven, job, f"renders/{job['id']}/00.bmp", named=False)
        copying = asyncio.create_task(driven.copy(job))
        await begun(driven, source)
        assert len(open_uploads(driven)) == 2
        await sweep_uploads(driven.context)
        assert len(open_uploads(driven)) == 1
        source.go_on.set()
        await check_stored(driven, await copying, LARGE)


async def test_the_sweep_waits_while_somebody_may_be_about_to_name_an_upload_under_the_same_key(
    driven: Driven,
) -> None:
    job = await driven.copying()
    await left_behind(driven, job, "same", named=False)
    await left_behind(driven, job, "same", named=False, dead=False)
    await sweep_uploads(driven.context)
    assert open_uploads(driven) == ["same", "same"]
    await driven.sql("DELETE FROM uploads WHERE worker_id = $1", driven.context.worker_id)
    await driven.sql("UPDATE uploads SET due_at = now()")
    await sweep_uploads(driven.context)
    assert (open_uploads(driven), await driven.sql("SELECT FROM uploads")) == ([], [])


async def test_the_sweep_spares_an_upload_that_is_begun_and_named_before_it_lists(
    driven: Driven, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with flowing(Source(LARGE, stop_at=PART + 1)) as source:
        job = await copying_from(driven, source)
        await left_behind(driven, job, f"renders/{job['id']}/00.bmp", named=False)
        copying: list[asyncio.Task[Any]] = []

        async def list_late(*args: Any) -> list[str]:
            copying.append(asyncio.create_task(driven.copy(job)))
            await begun(driven, source)
            return await list_uploads(*args)

        monkeypatch.setattr("service.engine.uploads.list_uploads", list_late)
        await sweep_uploads(driven.context)
        assert len(open_uploads(driven)) == 1
        source.go_on.set()
        await check_stored(driven, await copying[0], LARGE)


async def test_an_upload_that_can_not_be_aborted_is_tried_again_later_and_given_up_after_days(
    driven: Driven, faulty_s3: FaultyS3
) -> None:
    job = await driven.copying()
    there = destination(driven.s3, driven.bucket, endpoint_url=faulty_s3.endpoint_url)
    assert (await driven.client.put("/v1/destinations/acme?check=false", json=there)).is_success
    await left_behind(driven, job, "stuck", named=True)
    faulty_s3.inject(INTERNAL_ERROR, "AbortMultipartUpload", times=None)
    await sweep_uploads(driven.context)
    asked = faulty_s3.count("AbortMultipartUpload")
    [row] = await driven.sql("SELECT tries, due_at > now() + interval '50 seconds' AS later FROM uploads")
    assert (row["tries"], row["later"]) == (1, True)
    await sweep_uploads(driven.context)  # it is not its turn yet
    assert faulty_s3.count("AbortMultipartUpload") == asked
    await driven.sql("UPDATE uploads SET due_at = now(), begun_at = now() - interval '8 days'")
    await sweep_uploads(driven.context)
    assert await driven.sql("SELECT FROM uploads") == []
    await abort_all(driven)


async def test_a_nameless_upload_in_a_bucket_that_may_not_be_listed_is_given_up(
    driven: Driven, faulty_s3: FaultyS3
) -> None:
    job = await driven.copying()
    there = destination(driven.s3, driven.bucket, endpoint_url=faulty_s3.endpoint_url)
    assert (await driven.client.put("/v1/destinations/acme?check=false", json=there)).is_success
    await left_behind(driven, job, "nameless", named=False)
    faulty_s3.inject(ACCESS_DENIED, "ListMultipartUploads", times=None)
    await sweep_uploads(driven.context)
    assert await driven.sql("SELECT FROM uploads") == []
    await abort_all(driven)


async def test_an_upload_whose_creation_was_never_answered_is_swept(driven: Driven, faulty_s3: FaultyS3) -> None:
    there = destination(driven.s3, driven.bucket, endpoint_url=faulty_s3.endpoint_url)
    assert (await driven.client.put("/v1/destinations/acme?check=false", json=there)).is_success
    faulty_s3.inject(Cut("answer"), "CreateMultipartUpload", times=2)
    async with flowing(Source(LARGE)) as source:
        job = await driven.drive(await copying_from(driven, source))
    assert len(open_uploads(driven)) == 2
    await sweep_uploads(driven.context)
    await check_stored(driven, job, LARGE)


async def test_an_upload_that_was_swept_under_its_worker_is_begun_anew(driven: Driven) -> None:
    """The worker was stopped for long and taken for dead; then it was woken."""
    async with flowing(Source(LARGE, stop_at=PART + 1)) as source:
        job = await copying_from(driven, source)
        copying = asyncio.create_task(copy(driven.context, uuid(job)))
        await begun(driven, source)
        await driven.sql("UPDATE workers SET seen_at = now() - interval '1 hour'")
        await sweep_uploads(driven.context)
        assert open_uploads(driven) == []
        source.go_on.set()
        await copying
        job = await driven.job(job)
        assert (job["status"], driven.keys()) == ("copying", [])
        await check_stored(driven, await driven.drive(job), LARGE, swept=True)


async def test_what_is_created_after_its_row_was_swept_is_known_all_the_same(
    driven: Driven, faulty_s3: FaultyS3
) -> None:
    """A worker is stopped right before it creates an upload, taken for dead, and then broken off in the middle of it."""
    there = destination(driven.s3, driven.bucket, endpoint_url=faulty_s3.endpoint_url)
    assert (await driven.client.put("/v1/destinations/acme?check=false", json=there)).is_success
    stall = faulty_s3.inject(Stall("answer"), "CreateMultipartUpload", times=1)
    async with flowing(Source(LARGE)) as source:
        job = await copying_from(driven, source)
        copying = asyncio.create_task(copy(driven.context, uuid(job)))

        async def created() -> bool:
            return stall.hits == 1 and open_uploads(driven) != []

        await until(created)
        assert await driven.sql("DELETE FROM uploads RETURNING id") != []
        copying.cancel()
        await asyncio.gather(copying, return_exceptions=True)
        assert open_uploads(driven) != []
        await sweep_uploads(driven.context)
        await check_stored(driven, await driven.copy(job), LARGE)
