"""The sweep of uploads: aborts what workers have left open that died, or could not abort it themselves.

What it can't abort within days it leaves: a lifecycle rule of the bucket does the rest, where there is one.
"""

from __future__ import annotations

import asyncio
from typing import Any

import structlog

from service import metrics
from service.db.sql import queries
from service.engine.context import Context
from service.ids import show
from service.outputs.bucket import S3
from service.outputs.destinations import read_target
from service.outputs.errors import DestinationDenied, OutputError
from service.outputs.multipart import abort, list_uploads
from service.outputs.spec import BucketSpec

log = structlog.get_logger()

_MOST, _AT_ONCE = 100, 8
_SECONDS = 20.0  # for one upload
_GONE = frozenset({"NoSuchBucket"})


async def sweep_uploads(context: Context) -> None:
    """Abort a batch of uploads that nobody is at any more; what fails is tried again later, for a week."""
    # A worker that is only slow loses its upload, so that it is given more time than one whose work is only taken over.
    rows = [row async for row in queries().take_left_uploads(context.pool, silence=2 * context.silence, limit=_MOST)]
    turn = asyncio.Semaphore(_AT_ONCE)

    async def one(row: Any) -> None:
        async with turn:
            await _sweep(context, row)

    await asyncio.gather(*map(one, rows))


async def _sweep(context: Context, row: Any) -> None:
    outcome = "failed"
    try:
        async with asyncio.timeout(_SECONDS):
            outcome = await _end(context, row)
    except (OutputError, TimeoutError) as error:
        if isinstance(error, DestinationDenied) and (row["upload_id"] is None or error.s3_code in _GONE):
            # Listing is a permission that nothing else needs.
            outcome = "given_up"
        elif row["given_up"]:
            outcome = "given_up"
        log.warning("upload.not_aborted", **_named(row), outcome=outcome, reason=str(error) or type(error).__name__)
    if outcome in {"aborted", "given_up"}:
        await queries().end_upload(context.pool, id=row["id"])
    metrics.UPLOADS_SWEPT.labels(outcome).inc()


async def _end(context: Context, row: Any) -> str:
    """Abort what a row stands for; returns what came of it."""
    spec = await _spec_of(context, row)
    async with context.buckets.client(spec, cause=show("job", row["job_id"])) as s3:
        if row["upload_id"] is not None:
            await abort(s3, {**spec.place(row["key"]), "UploadId": row["upload_id"]})
            log.info("upload.aborted", **_named(row))
            return "aborted"
        return await _end_nameless(context, s3, spec, row)


async def _end_nameless(context: Context, s3: S3, spec: BucketSpec, row: Any) -> str:
    """Abort whatever is open under a key and no row names: the answer that named it never came."""
    # Listed first: what somebody creates from now on is not in it, and what was created before has its row.
    listed = await list_uploads(s3, spec, row["key"])
    beside = [
        other
        async for other in queries().uploads_beside(context.pool, id=row["id"], bucket=row["bucket"], key=row["key"])
    ]
    if any(other["alive"] and other["upload_id"] is None for other in beside):
        return "put_off"  # somebody has just created one, perhaps, and is about to name it
    named = {other["upload_id"] for other in beside}
    for upload_id in listed:
        if upload_id not in named:
            await abort(s3, {**spec.place(row["key"]), "UploadId": upload_id})
            log.info("upload.aborted", **_named(row))
    return "aborted"


async def _spec_of(context: Context, row: Any) -> BucketSpec:
    """Return where a row's upload is, also when its destination has moved since: elsewhere it would seem to be gone."""
    found = await queries().get_destination_by_id(context.pool, id=row["destination_id"])
    target = read_target(context.keyring, found, None, context.settings.outputs.ambient_accounts)
    return target.spec.at(row["bucket"], row["region"], row["endpoint_url"])


def _named(row: Any) -> dict[str, Any]:
    return {"job_id": show("job", row["job_id"]), "index": row["index"], "bucket": row["bucket"], "key": row["key"]}
