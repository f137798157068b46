"""Tries a bucket for real: writes a probe in every way that outputs are written, and says what S3 answered to each."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from service.aws.auth import AssumedRole
from service.ids import new_uuid
from service.outputs.bucket import REQUEST_SECONDS
from service.outputs.keys import PROBE, clean_path
from service.outputs.probe import Probe
from service.outputs.s3_clients import Buckets
from service.outputs.spec import BucketSpec
from service.outputs.steps import Note, Report, Step

CHECK_SECONDS = 50.0  # altogether: whoever asks for a check waits for it
_LEFT_FOR_CLEANING = 0.2  # of the time altogether


async def check_bucket(
    buckets: Buckets,
    spec: BucketSpec,
    prefix: str,
    *,
    seconds: float = REQUEST_SECONDS,
    altogether: float = CHECK_SECONDS,
) -> list[Step]:
    """Return what each step came to; never raises for S3's sake.

    The steps are endpoint, assume_role (of a role), put, conditional_put, head, get, multipart, abort, kms (where an
    encryption is asked for), tags (where there are some) and delete. A failed one makes only those be skipped that need
    it. prefix: the destination's path; the probe lies directly in it, and nothing of it stays, also if the check is
    canceled. seconds: for each step. altogether: for all of them, the last fifth of it for cleaning up.
    """
    now = asyncio.get_running_loop().time()
    report = Report(seconds, end=now + altogether * (1 - _LEFT_FOR_CLEANING))
    name = f"{PROBE}{new_uuid().hex}"
    probe = Probe(None, spec, key="/".join(filter(None, (clean_path(prefix), name))))
    async with AsyncExitStack() as stack:

        async def open_client() -> None:
            await buckets.check_endpoint(spec)
            if not isinstance(spec.auth, AssumedRole):
                probe.s3 = await stack.enter_async_context(buckets.client(spec))

        async def assume_role() -> Note | None:
            return await _assume_role(buckets, spec, probe, stack)

        await report.run("endpoint", open_client)
        opened = "endpoint"
        if isinstance(spec.auth, AssumedRole):
            await report.run("assume_role", assume_role, needs="endpoint")
            opened = "assume_role"
        try:
            await _try_object(report, probe, opened)
        finally:
            # After the end of the steps' own time: what is left is for this.
            report.end = now + altogether
            await _clean_up(report, probe)
    return report.steps


async def _assume_role(buckets: Buckets, spec: BucketSpec, probe: Probe, stack: AsyncExitStack) -> Note | None:
    assert isinstance(spec.auth, AssumedRole)
    asks = await buckets.asks_for_external_id(spec.auth, spec.region)
    probe.s3 = await stack.enter_async_context(buckets.client(spec, cause="genrelay-check"))
    if asks:
        return None
    return Note(
        "the role also lets us in without the external id",
        "Let the role's trust policy ask for the external id, as GET /v1/destinations/{name}/policy prints it: without"
        " that, anybody who knows the role's ARN could have outputs written here.",
    )


async def _try_object(report: Report, probe: Probe, opened: str) -> None:
    asked = probe.spec
    await report.run("put", probe.put, needs=opened)
    # An object may be there although it could not be written as it should be.
    written = "put" if not probe.written else None
    for step in (probe.conditional_put, probe.head, probe.get, probe.multipart):
        await report.run(step.__name__, step, needs=written)
    await _abort(report, probe)
    if asked.encryption is not None:
        told = "encryption" in probe.refused or report.is_ok("multipart")
        await report.run("kms", probe.kms, needs=None if told else "head")
    if asked.tags:
        await report.run("tags", probe.tags, needs=written)


async def _abort(report: Report, probe: Probe) -> None:
    if probe.began_upload:
        await report.run("abort", probe.abort)
    else:
        report.skip("abort", "not tried, because no upload was begun")


async def _clean_up(report: Report, probe: Probe) -> None:
    """Leave nothing behind; what came of it is only told of an object that surely was written."""
    if probe.began_upload and not report.is_ok("abort"):
        await Report(report.seconds, report.end).run("abort", probe.abort)
    await probe.forget()
    if probe.written:
        await report.run("delete", probe.delete)
        return
    if probe.maybe_there:
        await Report(report.seconds, report.end).run("delete", probe.delete)
    report.skip("delete", "not tried, because nothing was written")
