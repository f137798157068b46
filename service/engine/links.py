"""Signed URLs of stored outputs: whoever has one can read the object until it expires."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from service.db.sql import queries
from service.engine.context import Context
from service.ids import show
from service.jobs.model import Job, Output
from service.outputs.bucket import signed_url
from service.outputs.destinations import read_target


@dataclass(frozen=True, slots=True)
class Link:
    """A signed URL, which is a secret, and when it ends."""

    url: str = field(repr=False)
    expires_at: datetime


async def make_link(context: Context, job: Job, output: Output, seconds: int) -> Link:
    """Sign a URL for a stored output; it ends with the credentials that sign it, if these are temporary.

    Raises DestinationDenied or DestinationUnavailable.
    """
    assert output.key is not None
    row = await queries().get_destination_by_id(context.pool, id=job.destination_id)
    target = read_target(context.keyring, row, job.storage, context.settings.outputs.ambient_accounts)
    # The destination may have got another bucket since; the object is where it was put.
    spec = replace(target.spec, bucket=output.bucket or target.spec.bucket)
    async with context.buckets.client(spec, cause=show("job", job.id)) as s3:
        # A signature counts from the second in which it is made.
        now = datetime.now(UTC).replace(microsecond=0)
        left = context.buckets.seconds_left(spec)
        if left is not None:
            seconds = max(1, min(seconds, int(left)))
        url = await signed_url(s3, spec, output.key, seconds)
    return Link(url, now + timedelta(seconds=seconds))
