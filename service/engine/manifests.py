"""Writing a job's manifest: after its last output is stored, and before anybody hears that the job has succeeded."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Sequence
from typing import Any

import structlog
from botocore.exceptions import ClientError

from service.db.sql import queries
from service.engine.context import BIG, Context
from service.ids import show
from service.jobs.model import Job, Output
from service.outputs.bucket import REQUEST_SECONDS, put_once
from service.outputs.destinations import Target
from service.outputs.errors import DestinationConflict
from service.outputs.manifest import MEDIA_TYPE, SCHEMA, Facts, manifest_bytes
from service.outputs.s3_errors import S3_ERRORS, decide_s3_error
from service.outputs.spec import BucketSpec
from service.points import reach
from service.providers.describing import Described, describe

log = structlog.get_logger()


async def write_manifest(context: Context, job: Job, target: Target, outputs: Sequence[Output]) -> None:
    """Write the manifest of a job whose outputs are all stored; one that is there already, of this job, stays.

    Raises DestinationConflict, DestinationDenied or DestinationUnavailable.
    """
    shown = show("job", job.id)
    key = target.manifest_key(shown)
    body = manifest_bytes(job, outputs, await _find_facts(context, job))
    marks = {"genrelay-job": shown, "genrelay-manifest": SCHEMA}
    reach("copy.manifest_begun")
    async with context.buckets.client(target.spec, cause=shown) as s3:
        try:
            await put_once(
                s3,
                target.spec,
                key,
                body,
                sha256=hashlib.sha256(body).digest(),
                media_type=MEDIA_TYPE,
                metadata=marks,
            )
        except DestinationConflict:
            # The input may have been deleted since an earlier run wrote it, and with it what that one could tell.
            if not await _is_this_jobs(s3, target.spec, key, marks):
                raise
    reach("copy.manifest_put")
    log.info("manifest.stored", job_id=shown, bytes=len(body), key=key)


async def _find_facts(context: Context, job: Job) -> Facts:
    row = await queries().manifest_facts(context.pool, job_id=job.id)
    body = row["body"]
    # Megabytes of base64 are decoded in a thread, not on the loop.
    described = await asyncio.to_thread(_describe, body) if body and len(body) > BIG else _describe(body)
    return Facts(row["input_sha256"], described, row["provider_task_id"], row["submitted_at"])


def _describe(body: bytes | None) -> Described | None:
    return None if body is None else describe(json.loads(body))


async def _is_this_jobs(s3: Any, spec: BucketSpec, key: str, marks: dict[str, str]) -> bool:
    try:
        async with asyncio.timeout(REQUEST_SECONDS):
            head = await s3.head_object(**spec.place(key))
    except ClientError:
        return False
    except S3_ERRORS as error:
        raise decide_s3_error(error) from None
    found = head.get("Metadata", {})
    return all(found.get(name) == value for name, value in marks.items())
