"""The callback of a test job, in the shape of ModelsLab's own; we post it ourselves, for ModelsLab has no test mode.

https://docs.modelslab.com/webhooks
checked 2026-09
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from pydantic_core import to_json

from service.providers.contract import Json, MockCallback, Ours, OutputKind
from service.providers.modelslab.inputs import count_images

PLACE = "https://pub-3626123a908346a7a8be8d9295f44e26.r2.dev/generations/test_data"
ENDINGS: dict[OutputKind, str] = {"image": "png", "video": "mp4", "audio": "wav"}
MOCK_FAILURE = "This is a mock: the job was submitted in test mode with a failure asked for, and nothing ran."
# What the documented payload's `meta` repeats; a body may also hold megabytes of base64.
REPEATED = ("prompt", "model_id", "width", "height", "samples")
REPEATED_CHARACTERS = 500


def mock_callback(kinds: Sequence[OutputKind], body: dict[str, Json], ours: Ours) -> MockCallback:
    """Build the callback. kinds: what the operation makes. Raises ValueError for a job that is no test job."""
    if ours.test_mode is None:
        raise ValueError("only a test job has a mock")
    task_id = _make_id(ours.reference)
    urls = [mock_url(kinds[0], number) for number in range(count_images(body))]
    failed = ours.test_mode.return_task_status == "TASK_STATUS_FAILED"
    event: dict[str, Json] = (
        {"status": "failed", "id": task_id, "message": MOCK_FAILURE}
        if failed
        else {"status": "success", "id": task_id, "output": list(urls), "generationTime": 0}
    )
    return MockCallback(str(task_id), to_json({**event, "track_id": ours.reference, "meta": repeat(body)}))


def mock_url(kind: OutputKind, number: int) -> str:
    """Return where an output of a task that never was would be; numbers begin with 0."""
    return f"{PLACE}-{number}.{ENDINGS[kind]}"


def _make_id(reference: str) -> int:
    """Return an id as ModelsLab's are, an integer that every JSON parser keeps exact; the same for the same attempt."""
    return (int.from_bytes(hashlib.sha256(reference.encode()).digest()[:8]) >> 11) or 1


def repeat(body: Mapping[str, Json]) -> dict[str, Json]:
    """Return what `meta` repeats of a request."""
    said = {name: body[name] for name in REPEATED if isinstance(body.get(name), str | int | float)}
    return {name: value[:REPEATED_CHARACTERS] if isinstance(value, str) else value for name, value in said.items()}
