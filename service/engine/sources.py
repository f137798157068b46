"""Where the bytes of an output come from: the spool, the provider's URL, the text behind it, or the answer with them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from service.db.sql import queries
from service.engine.context import Context
from service.engine.earlier import held_to_earlier, open_earlier
from service.engine.spooled import lend_spooled
from service.jobs.model import Job, Output
from service.net import GuardPolicy
from service.outputs.download import download
from service.outputs.encoded import Decoded, text_bytes
from service.outputs.errors import SourceGone
from service.outputs.files import File
from service.outputs.inspecting import Limits
from service.outputs.transfer import HEAD_BYTES, Sizes


def sizes_of(context: Context, output: Output) -> Sizes:
    """Return how a file of an output's kind is taken."""
    settings = context.settings.outputs
    most = settings.max_image_bytes if output.kind == "image" else settings.max_video_bytes
    return Sizes(
        Limits(max_bytes=most, max_pixels=settings.max_pixels, max_frames=settings.max_frames),
        whole_bytes=settings.whole_bytes,
        part_bytes=settings.part_bytes,
        parts_in_flight=settings.parts_in_flight,
    )


@asynccontextmanager
async def fetch(context: Context, job: Job, output: Output) -> AsyncIterator[File]:
    """Lend an output's file; raises OutputRefused, SourceGone or SourceUnavailable, also when it is read."""
    async with AsyncExitStack() as stack:
        file = await stack.enter_async_context(lend_spooled(context, output))
        if file is None and output.inline:
            file = await _open_inline(context, output)
        if file is None and output.source_url is None and job.copy_of is not None:
            file = await stack.enter_async_context(open_earlier(context, job, output))
        if file is None:
            file = await stack.enter_async_context(_open_url(context, job, output))
        yield file if job.copy_of is None else await held_to_earlier(context, job, output, file)


@asynccontextmanager
async def _open_url(context: Context, job: Job, output: Output) -> AsyncIterator[File]:
    if output.source_url is None:
        raise SourceGone("the provider's URL is not known any more")
    most = sizes_of(context, output).limits.max_bytes
    async with download(
        context.download_client,
        output.source_url,
        policy=GuardPolicy(tuple(context.settings.allowed_private_subnets)),
        hosts=context.output_hosts(job),
        max_bytes=text_bytes(most) if output.encoded else most,
    ) as file:
        yield Decoded(file, most) if output.encoded else file


async def _open_inline(context: Context, output: Output) -> File:
    row = await queries().open_inline(context.pool, job_id=output.job_id, index=output.index, most=HEAD_BYTES)
    if row is None:
        raise _not_kept()
    return _Inline(context, output, row["size"], row["head"])


class _Inline:
    """A file that is kept in the database, of which only the head is in memory until it is read."""

    def __init__(self, context: Context, output: Output, size: int, head: bytes) -> None:
        self.size = size
        self._context, self._output = context, output
        self._head = head
        self._position = 0

    async def read(self, most: int) -> bytearray:
        """Return the next bytes; raises SourceGone when somebody has deleted the file."""
        if self._position == 0 and most <= len(self._head):
            piece = bytearray(self._head[:most])
        elif self._position >= self.size:
            piece = bytearray()
        else:
            piece = await self._ask(most)
        self._position += len(piece)
        return piece

    async def _ask(self, most: int) -> bytearray:
        found = await queries().read_inline(
            self._context.pool,
            job_id=self._output.job_id,
            index=self._output.index,
            begin=self._position + 1,
            most=most,
        )
        if found is None:
            raise _not_kept()
        return bytearray(found)


def _not_kept() -> SourceGone:
    return SourceGone("the file that came with the provider's answer is not kept any more")
