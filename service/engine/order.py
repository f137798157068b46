"""One output that is being written: what is committed about it, and about its upload, on the way."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import replace
from uuid import UUID

import structlog

from service.db.pool import DATABASE_AWAY
from service.db.sql import queries
from service.engine.context import Context
from service.ids import new_uuid, show
from service.jobs.model import Job, Output
from service.outputs.destinations import Target
from service.outputs.multipart import NotWanted
from service.outputs.transfer import Written
from service.points import reach

log = structlog.get_logger()

_FIXED = [
    *("job_id", "index", "media_type", "extension", "bytes", "width", "height", "frames", "sha256", "bucket", "key"),
    *("mark", "part_bytes", "checksum"),
]


class OutputOrder:
    """An output on its way to a target (`service.outputs.transfer.Order`)."""

    def __init__(self, context: Context, job: Job, target: Target, output: Output) -> None:
        self._context, self._job, self._target, self._output = context, job, target, output
        self._upload: UUID = new_uuid()

    @property
    def metadata(self) -> Mapping[str, str]:
        """Return what the object says of where it comes from; one in one piece has its digest besides."""
        return {
            "genrelay-job": show("job", self._job.id),
            "genrelay-output": str(self._output.index),
            "genrelay-provider": self._job.provider,
        }

    def key_for(self, extension: str) -> str:
        """Return the object's key."""
        return self._target.key_for(self._job, self._output.index, extension)

    def row_of(self, written: Written) -> Output:
        """Return the output as it is once this is written."""
        content = written.content
        return replace(
            self._output,
            status="writing",
            media_type=content.media_type,
            extension=content.extension,
            bytes=written.size,
            width=content.width,
            height=content.height,
            frames=content.frames,
            sha256=written.sha256,
            bucket=self._target.spec.bucket,
            key=written.key,
            mark=written.mark,
            part_bytes=written.part_bytes,
            checksum=written.checksum,
        )

    async def fix(self, written: Written) -> Written | None:
        """Commit what will be written; None when the job was canceled or another worker fixed it otherwise."""
        row = self.row_of(written)
        reach("copy.fixed_before_commit")
        fixed = await queries().fix_output(self._context.pool, **{name: getattr(row, name) for name in _FIXED})
        reach("copy.fixed")
        return None if fixed is None else replace(written, mark=fixed["mark"])

    async def begin(self, key: str) -> str:
        """Commit that an upload is about to be created; raises NotWanted."""
        mark: str | None = await queries().begin_upload(
            self._context.pool,
            id=self._upload,
            job_id=self._job.id,
            index=self._output.index,
            destination_id=self._job.destination_id,
            bucket=self._target.spec.bucket,
            key=key,
            worker_id=self._context.worker_id,
            mark=secrets.token_hex(16),
        )
        if mark is None:
            raise NotWanted
        return mark

    async def name(self, upload_id: str) -> None:
        """Commit the upload's id."""
        await queries().name_upload(self._context.pool, id=self._upload, upload_id=upload_id)

    async def doubt(self) -> None:
        """Commit that there may be one more under the same key."""
        await queries().doubt_upload(self._context.pool, id=new_uuid(), beside=self._upload)

    async def end(self) -> None:
        """Commit that the upload is completed or aborted."""
        try:
            await queries().end_upload(self._context.pool, id=self._upload)
        except DATABASE_AWAY as error:
            self._say_not_noted(error)

    async def leave(self) -> None:
        """Commit that somebody has to abort the upload later."""
        try:
            await queries().leave_upload(self._context.pool, id=self._upload)
        except DATABASE_AWAY as error:
            self._say_not_noted(error)

    def _say_not_noted(self, error: BaseException) -> None:
        # The row stays, and the sweep takes it for an open upload some time.
        log.warning("upload.end_not_noted", job_id=show("job", self._job.id), reason=type(error).__name__)
