"""A world that writes in parts, files to copy into it, and what lies in its bucket afterwards."""

from __future__ import annotations

import hashlib
from contextlib import AbstractAsyncContextManager
from typing import Any

import boto3

from service.demo.s3server import S3Server
from service.engine.uploads import sweep_uploads
from tests.engine.driven import Driven, driven_world, uuid
from tests.outputs.flowing import Source, picture
from tests.world import until

PART = 5 * 2**20
SMALL = {
    "GENRELAY_OUTPUTS__WHOLE_BYTES": "65536",
    "GENRELAY_OUTPUTS__PART_BYTES": str(PART),
    "GENRELAY_OUTPUTS__MEMORY_BYTES": str(8 * PART),
}
LARGE = picture(2 * PART + 1000)


def large_world(database_url: str, s3: S3Server, bucket: str, **more: str) -> AbstractAsyncContextManager[Driven]:
    """Run a world without workers that writes in parts whatever has more than 64 KiB; `more` are further settings."""
    return driven_world(database_url, s3, bucket, **{**SMALL, **more})  # type: ignore[arg-type]


def admin(driven: Driven) -> Any:
    return boto3.client(
        "s3", endpoint_url=driven.s3.endpoint_url, region_name=driven.s3.region,
        aws_access_key_id=driven.s3.access_key_id, aws_secret_access_key=driven.s3.secret_access_key,
    )  # fmt: skip


def open_uploads(driven: Driven) -> list[str]:
    found = admin(driven).list_multipart_uploads(Bucket=driven.bucket)
    return [upload["Key"] for upload in found.get("Uploads", ())]


async def copying_from(driven: Driven, source: Source) -> dict[str, Any]:
    """Bring a job to where its one output is to be copied from a source."""
    job = await driven.copying()
    await driven.sql("UPDATE outputs SET source_url = $1 WHERE job_id = $2", source.url, uuid(job))
    return job


async def check_stored(driven: Driven, job: dict[str, Any], body: bytes, *, swept: bool = False) -> None:
    """What lies in the bucket is what the source has, once, and nothing else is there or begun.

    swept: an earlier try was broken off, so that the sweep aborts its upload once more.
    """
    if swept:
        await sweep_uploads(driven.context)
    assert job["status"] == "succeeded", job
    [output] = job["outputs"]
    assert driven.keys() == [output["key"]]
    assert driven.s3.read(driven.bucket, output["key"]) == body
    assert (output["sha256"], output["bytes"]) == (hashlib.sha256(body).hexdigest(), len(body))
    assert open_uploads(driven) == []
    assert await driven.sql("SELECT * FROM uploads") == []
    assert driven.context.budget.held == 0


async def begun(driven: Driven, source: Source) -> None:
    """Wait until a source has stopped and its upload is named."""
    await source.stopped.wait()

    async def named() -> bool:
        return bool(await driven.sql("SELECT FROM uploads WHERE upload_id IS NOT NULL"))

    await until(named)


async def abort_all(driven: Driven) -> None:
    for upload in admin(driven).list_multipart_uploads(Bucket=driven.bucket).get("Uploads", ()):
        admin(driven).abort_multipart_upload(Bucket=driven.bucket, Key=upload["Key"], UploadId=upload["UploadId"])
