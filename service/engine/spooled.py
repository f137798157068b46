"""Where a file comes from that waits in the operator's spool."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime

import structlog

from service.db.sql import queries
from service.engine.context import Context
from service.ids import show
from service.jobs.model import Output
from service.outputs.errors import SourceUnavailable
from service.outputs.files import File
from service.outputs.sealing import BrokenSeal
from service.outputs.spool import Spooled

log = structlog.get_logger()


@asynccontextmanager
async def lend_spooled(context: Context, output: Output) -> AsyncIterator[File | None]:
    """Lend an output's file out of the spool; None when it does not wait there, and the provider's URL has to do.

    What turns out to be gone or broken counts as not there from then on. Raises BrokenSeal or SourceUnavailable, on
    entering or when the file is read.
    """
    if output.spool_key is None:
        yield None
        return
    async with AsyncExitStack() as stack:
        file = await _open(context, stack, output)
        try:
            yield file
        except BrokenSeal as error:
            await _give_up(context, output, error.message)
            raise


async def _open(context: Context, stack: AsyncExitStack, output: Output) -> File | None:
    if context.spool is None:
        log.warning("spool.not_read", **_about(output), reason="the settings name no spool any more")
        return None
    assert output.spool_bucket is not None and output.spool_key is not None
    assert output.spool_secret is not None and output.spool_bytes is not None
    waiting = Spooled(output.spool_bucket, output.spool_key, output.spool_secret, output.spool_bytes)
    try:
        file = await stack.enter_async_context(context.spool.open(waiting, output.job_id, output.index))
    except BrokenSeal as error:
        await _give_up(context, output, error.message)
        return None
    except SourceUnavailable as error:
        if output.source_expires_at is None or output.source_expires_at <= datetime.now(UTC):
            raise
        log.warning("spool.not_read", **_about(output), reason=error.message)
        return None
    if file is None:
        await _give_up(context, output, "it is not there any more")
    return file


async def _give_up(context: Context, output: Output, reason: str) -> None:
    """Forget what waits in the spool and can't be used; should it be there, the housekeeping deletes it."""
    await queries().release_spooled(context.pool, key=output.spool_key, worker_id=context.worker_id, limit=1)
    log.error("spool.lost", **_about(output), reason=reason)


def _about(output: Output) -> dict[str, object]:
    return {"job_id": show("job", output.job_id), "index": output.index}
