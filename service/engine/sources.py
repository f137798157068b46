"""Where the bytes of an output come from: the provider's URL, the text behind it, or the answer that carried them."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from service.db.sql import queries
from service.engine.context import Context
from service.jobs.model import Job, Output
from service.net import GuardPolicy
from service.outputs.download import Downloaded, download
from service.outputs.encoded import MEMORY, decode, text_bytes
from service.outputs.errors import SourceGone


@asynccontextmanager
async def fetch(context: Context, job: Job, output: Output) -> AsyncIterator[Downloaded]:
    """Lend an output's file, with its share of the memory budget; raises OutputRefused, SourceGone, SourceUnavailable."""
    limits = context.settings.outputs
    most = limits.max_image_bytes if output.kind == "image" else limits.max_video_bytes
    if output.inline:
        async with _read_inline(context, output) as file:
            yield file
        return
    if output.source_url is None:
        raise SourceGone("the provider's URL is not known any more")
    async with download(
        context.download_client,
        output.source_url,
        policy=GuardPolicy(tuple(context.settings.allowed_private_subnets)),
        hosts=context.output_hosts(job),
        max_bytes=text_bytes(most) if output.encoded else most,
        budget=context.budget,
        memory=MEMORY if output.encoded else 1.0,
    ) as file:
        yield await asyncio.to_thread(decode, file, most) if output.encoded else file


@asynccontextmanager
async def _read_inline(context: Context, output: Output) -> AsyncIterator[Downloaded]:
    size = await queries().inline_size(context.pool, job_id=output.job_id, index=output.index)
    if size is None:
        raise SourceGone("the file that came with the provider's answer is not kept any more")
    async with context.budget.reserve(min(size, context.budget.total)):
        body = await queries().read_inline(context.pool, job_id=output.job_id, index=output.index)
        if body is None:
            raise SourceGone("the file that came with the provider's answer is not kept any more")
        yield Downloaded(bytearray(body), hashlib.sha256(body).digest(), None)
