"""A job and its outputs as they are in memory, and as the API shows them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from service.ids import show
from service.jobs.lifecycle import ENDED, Status, SubmitState

_ASSUMED_LIFE = timedelta(hours=24)  # of outputs whose provider does not say how long it keeps them

Digest = bytes  # `Output` has a field of that name
Secret = bytes


@dataclass(frozen=True, slots=True)
class Job:
    """One row of `jobs`: what the life cycle reads and writes. Times are aware, of the database's clock."""

    id: UUID
    account_id: UUID
    provider: str
    operation: str
    status: Status
    test_status: str | None
    destination: str | None
    destination_id: UUID | None
    storage: dict[str, Any] | None
    run: int
    attempt: int
    version: int
    submit_state: SubmitState | None
    provider_task_id: str | None
    provider_status: str | None
    progress: int | None
    verified_by: str | None
    error: dict[str, Any] | None
    metadata: dict[str, str]
    webhook: str | None = field(repr=False)  # it may hold a token
    webhook_events: list[str] | None
    on_unclear: str
    tries: int
    starts: int
    rereads: int
    read_back_at: datetime | None
    last_event: int
    created_at: datetime
    submitted_at: datetime | None
    completed_at: datetime | None
    deadline_at: datetime
    due_at: datetime | None
    nudged_at: datetime | None
    deadline_seconds: int
    images: int
    track_id: str | None
    copy_of: UUID | None
    source_expires_at: datetime | None
    traceparent: str | None = None

    @property
    def test(self) -> bool:
        """Whether this is a test job: never billed, judged by its token, never copied."""
        return self.test_status is not None

    @property
    def ended(self) -> bool:
        """Whether the current run is over."""
        return self.status in ENDED

    @property
    def urgent_at(self) -> datetime:
        """When its outputs are lost unless they are stored."""
        return urgent_at(self.source_expires_at, self.created_at)


@dataclass(frozen=True, slots=True)
class Output:
    """One row of `outputs`; digest, size, type and key are set before the object is written."""

    job_id: UUID
    index: int
    kind: str
    status: str
    source_url: str | None
    source_expires_at: datetime | None
    encoded: bool
    inline: bool
    nsfw: dict[str, Any] | None
    media_type: str | None
    extension: str | None
    bytes: int | None
    width: int | None
    height: int | None
    sha256: Digest | None
    bucket: str | None
    key: str | None
    region: str | None = None
    endpoint_url: str | None = None
    key_run: int | None = None
    frames: int | None = None
    mark: str | None = None
    part_bytes: int | None = None
    checksum: str | None = None
    stored_at: datetime | None = None
    spool_bucket: str | None = None
    spool_key: str | None = None
    spool_secret: Secret | None = field(default=None, repr=False)
    spool_bytes: int | None = None
    spooled_until: datetime | None = None

    @property
    def lost_at(self) -> datetime | None:
        """When its file is gone, at the provider and from the spool; None for one that is stored, or if nobody knows."""
        if self.status not in {"pending", "writing"}:
            return None
        return max(filter(None, (self.source_expires_at, self.spooled_until)), default=None)

    def as_json(self) -> dict[str, Any]:
        """Return the output as the API shows it; the source's URL is never shown."""
        stored = self.status == "stored"
        return {
            "index": self.index,
            "kind": self.kind,
            "status": self.status,
            "media_type": self.media_type,
            "bytes": self.bytes,
            "width": self.width,
            "height": self.height,
            "frames": self.frames,
            "sha256": self.sha256.hex() if self.sha256 else None,
            "bucket": self.bucket if stored else None,
            "key": self.key if stored else None,
            "url": f"s3://{self.bucket}/{self.key}" if stored else None,
            "nsfw": self.nsfw,
            "source_expires_at": moment(self.source_expires_at),
            "spooled_until": None if stored else moment(self.spooled_until),
        }


def urgent_at(source_expires_at: datetime | None, created_at: datetime) -> datetime:
    """Return when a job's outputs are lost unless they are stored; an assumed time if nobody knows, so that age decides."""
    return source_expires_at or created_at + _ASSUMED_LIFE


def first_loss(outputs: Iterable[Output]) -> datetime | None:
    """Return when the first of the outputs that are not stored is gone at its source, as far as it is known."""
    return min(filter(None, (output.lost_at for output in outputs)), default=None)


def read_job(row: Mapping[str, Any]) -> Job:
    """Read a row of `jobs`; further columns of a query are left out."""
    values = {name: row[name] for name in _JOB_COLUMNS}
    values["status"] = Status(values["status"])
    if values["submit_state"] is not None:
        values["submit_state"] = SubmitState(values["submit_state"])
    return Job(**values)


def read_output(row: Mapping[str, Any]) -> Output:
    """Read a row of `outputs`."""
    return Output(**{name: row[name] for name in _OUTPUT_COLUMNS})


_JOB_COLUMNS = tuple(each.name for each in fields(Job))
_OUTPUT_COLUMNS = tuple(each.name for each in fields(Output))


def moment(time: datetime | None) -> str | None:
    """Return a time as the API shows it: RFC 3339, UTC, milliseconds."""
    return None if time is None else time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def job_json(job: Job, outputs: list[Output]) -> dict[str, Any]:
    """Return the job as the API and every event show it."""
    shown = show("job", job.id)
    path = f"/v1/jobs/{shown}"
    return {
        "id": shown,
        "object": "job",
        "status": job.status.value,
        "test": job.test,
        "provider": job.provider,
        "operation": job.operation,
        "provider_task_id": job.provider_task_id,
        "provider_status": job.provider_status,
        "progress": job.progress,
        "verified_by": job.verified_by,
        "run": job.run,
        "outputs": [output.as_json() for output in outputs],
        "error": job.error,
        "metadata": job.metadata,
        "track_id": job.track_id,
        "destination": job.destination,
        "copy_of": show("job", job.copy_of) if job.copy_of else None,
        "source_expires_at": moment(job.source_expires_at),
        "created_at": moment(job.created_at),
        "submitted_at": moment(job.submitted_at),
        "completed_at": moment(job.completed_at),
        "deadline_at": moment(job.deadline_at),
        "links": {
            "self": path,
            "events": f"{path}/events",
            "callbacks": f"{path}/callbacks",
            "deliveries": f"/v1/deliveries?job={shown}",
            "cancel": f"{path}/cancel",
            "copy": f"{path}/copy",
        },
    }
