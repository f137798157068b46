"""Signed URLs of stored outputs: whoever has one can read the object until it expires."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from service.db.sql import queries
from service.engine.commands import DESTINATION_DELETED, NotPossibleError
from service.engine.context import Context
from service.ids import show
from service.jobs.model import Job, Output
from service.outputs.bucket import signed_url
from service.outputs.destinations import read_target
from service.outputs.spec import BucketSpec


@dataclass(frozen=True, slots=True)
class Link:
    """A signed URL, which is a secret, when it ends, and in how many seconds from its making."""

    url: str = field(repr=False)
    expires_at: datetime
    seconds: int


async def make_link(context: Context, job: Job, output: Output, seconds: int) -> Link:
    """Sign a URL for a stored output; it ends with the credentials that sign it, if these are temporary.

    Raises DestinationDenied or DestinationUnavailable, and NotPossibleError when the destination was deleted.
    """
    [link] = await make_links(context, job, [output], seconds)
    return link


async def make_links(context: Context, job: Job, outputs: Sequence[Output], seconds: int) -> list[Link]:
    """Sign a URL for each of a job's stored outputs, as `make_link` does."""
    row = await queries().get_destination_by_id(context.pool, id=job.destination_id)
    if row["deleted_at"] is not None:
        raise NotPossibleError(
            DESTINATION_DELETED,
            f"the destination {row['name']!r} that the output was stored with has been deleted, and nothing is signed with its "
            "credentials any more; the object is where it was put",
        )
    target = read_target(context.keyring, row, job.storage, context.settings.outputs.ambient_accounts)
    return [await _sign(context, job, target.spec, output, seconds) for output in outputs]


async def _sign(context: Context, job: Job, spec: BucketSpec, output: Output, seconds: int) -> Link:
    assert output.key is not None
    # The destination may have moved since; the object is where it was put.
    spec = spec.at(output.bucket, output.region, output.endpoint_url)
    async with context.buckets.client(spec, cause=show("job", job.id)) as s3:
        # A signature counts from the second in which it is made.
        now = datetime.now(UTC).replace(microsecond=0)
        left = context.buckets.seconds_left(spec)
        if left is not None:
            seconds = max(1, min(seconds, int(left)))
        url = await signed_url(s3, spec, output.key, seconds)
    return Link(url, now + timedelta(seconds=seconds), seconds)
