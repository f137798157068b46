"""The manifest: one JSON object beside a job's outputs that tells what they are and how they came to be.

Everything in it comes from committed rows that do not change any more, so that it has the same bytes whoever writes it,
and however often.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from service.ids import show
from service.jobs.model import Job, Output, moment
from service.providers.describing import Described, Reference

SCHEMA = "genrelay.manifest/1"
MEDIA_TYPE = "application/json"


@dataclass(frozen=True, slots=True)
class Facts:
    """What the job's row as it is in memory does not tell.

    input_sha256: of the input as it was sent, without what we add. described: None when the input is not kept any more.
    provider_task_id, submitted_at: the original's, for a copy of another job.
    """

    input_sha256: bytes | None
    described: Described | None
    provider_task_id: str | None
    submitted_at: datetime | None


def manifest_bytes(job: Job, outputs: Sequence[Output], facts: Facts) -> bytes:
    """Return the manifest of a job whose outputs are all stored: JSON in UTF-8."""
    document = {
        "schema": SCHEMA,
        "job": show("job", job.id),
        "copy_of": show("job", job.copy_of) if job.copy_of else None,
        "provider": job.provider,
        "operation": job.operation,
        "provider_task_id": facts.provider_task_id,
        "test": job.test,
        "metadata": job.metadata,
        "track_id": job.track_id,
        "created_at": moment(job.created_at),
        "submitted_at": moment(facts.submitted_at),
        "input": _input_json(job, facts),
        "outputs": [_output_json(output) for output in outputs],
    }
    return (json.dumps(document, ensure_ascii=False, indent=2) + "\n").encode()


def _input_json(job: Job, facts: Facts) -> dict[str, Any]:
    found = facts.described
    return {
        "sha256": _hex(facts.input_sha256),
        # Where the body names no model, the operation is one.
        "model": None if found is None else found.model or job.operation,
        "seed": None if found is None else found.seed,
        "references": None if found is None else [_reference_json(each) for each in found.references],
    }


def _reference_json(reference: Reference) -> dict[str, Any]:
    return {
        "path": reference.path,
        "sha256": _hex(reference.sha256),
        "bytes": reference.bytes,
        "url": reference.url,
    }


def _output_json(output: Output) -> dict[str, Any]:
    return {
        "index": output.index,
        "kind": output.kind,
        "media_type": output.media_type,
        "bytes": output.bytes,
        "width": output.width,
        "height": output.height,
        "frames": output.frames,
        "sha256": _hex(output.sha256),
        "bucket": output.bucket,
        "key": output.key,
        "stored_at": moment(output.stored_at),
    }


def _hex(digest: bytes | None) -> str | None:
    return None if digest is None else digest.hex()
