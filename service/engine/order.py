"""One output that is being written: what is committed about it, and about its upload, on the way."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
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
    *("region", "endpoint_url", "key_run", "mark", "part_bytes", "checksum"),
]
_CHECKED = ["job_id", "index", "sha256", "bucket", "region", "endpoint_url", "key", "key_run"]


class OutputOrder:
    """An output on its way to a target (`service.outputs.transfer.Order`)."""

    def __init__(self, context: Context, job: Job, target: Target, output: Output) -> None:
        self._context, self._job, self._target, self._output = context, job, target, output
        self._upload: UUID = new_uuid()
        self._upload_id: str | None = None
        self._row: dict[str, Any] = {}

    @property
    def metadata(self) -> Mapping[str, str]:
        """Return what the object says of where it comes from; one in one piece has its digest besides."""
        return {
            "genrelay-job": show("job", self._job.id),
            "genrelay-output": str(self._output.index),
            "genrelay-provider": self._job.provider,
        }

    def key_for(self, extension: str) -> str:
        """Return the object's key: the one that was chosen before in this run, unless place or type have changed.

        Who chose it may be late and write it still; another key then would make a second object.
        """
        chosen, spec = self._output, self._target.spec
        before = (chosen.key_run, chosen.bucket, chosen.region, chosen.endpoint_url, chosen.extension)
        now = (self._job.run, spec.bucket, spec.region, spec.endpoint_url, extension)
        if chosen.key is not None and before == now:
            return chosen.key
        return self._target.key_for(self._job, chosen.index, extension)

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
            region=self._target.spec.region,
            endpoint_url=self._target.spec.endpoint_url,
            key=written.key,
            key_run=self._job.run,
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

    async def is_fixed(self, written: Written) -> bool:
        """Tell whether what was fixed is still to be written, there and in this run of the job."""
        row = self.row_of(written)
        fixed: bool = await queries().is_fixed(self._context.pool, **{name: getattr(row, name) for name in _CHECKED})
        return fixed

    async def begin(self, key: str) -> str:
        """Commit that an upload is about to be created; raises NotWanted."""
        self._row = {
            "id": self._upload,
            "job_id": self._job.id,
            "index": self._output.index,
            "destination_id": self._job.destination_id,
            "bucket": self._target.spec.bucket,
            "region": self._target.spec.region,
            "endpoint_url": self._target.spec.endpoint_url,
            "key": key,
            "worker_id": self._context.worker_id,
        }
        mark: str | None = await queries().begin_upload(self._context.pool, **self._row, mark=secrets.token_hex(16))
        if mark is None:
            raise NotWanted
        return mark

    async def name(self, upload_id: str) -> None:
        """Commit the upload's id."""
        self._upload_id = upload_id
        await queries().name_upload(self._context.pool, **self._row, upload_id=upload_id)

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
            await queries().leave_upload(self._context.pool, **self._row, upload_id=self._upload_id)
        except DATABASE_AWAY as error:
            self._say_not_noted(error)

    def _say_not_noted(self, error: BaseException) -> None:
        # The row stays, and the sweep takes it for an open upload some time.
        log.warning("upload.end_not_noted", job_id=show("job", self._job.id), reason=type(error).__name__)
