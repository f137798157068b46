"""The body that ModelsLab would have posted to the customer's webhook, with links to where the outputs are now.

https://docs.modelslab.com/webhooks
checked 2026-09

`failed` is how tasks end; a request that was refused, and never was a task, has the body of ModelsLab's errors. `meta` repeats
what is short in the request, as theirs does. `track_id` is a text, also where it was given as a number. Where the request asked
for base64, `output` still has links to the files themselves.
"""

from __future__ import annotations

import math

from pydantic_core import to_json

from service.providers.contract import EndedJob, Json, SentCallback
from service.providers.modelslab.mocks import mock_url, repeat
from service.providers.modelslab.scalars import read_number

REPEATED_CHARACTERS = 2000


def sent_callback(job: EndedJob) -> SentCallback:
    """Build the body about a job that has ended."""
    said = _write_success(job) if job.succeeded else _write_failure(job)
    return SentCallback(to_json(said))


def _write_success(job: EndedJob) -> dict[str, Json]:
    links = [file.url for file in job.files if file.url is not None]
    if job.test:
        links = [mock_url(file.kind, number) for number, file in enumerate(job.files)]
    return {
        "status": "success",
        "id": _as_id(job.task_id),
        "output": links,
        "track_id": job.track_id,
        "generationTime": 0 if job.test else _count_seconds(job),
        "meta": repeat(job.body) if job.test else _write_meta(job),
    }


def _write_failure(job: EndedJob) -> dict[str, Json]:
    if job.task_id is None:
        return {"status": "error", "id": "", "message": job.words, "track_id": job.track_id}
    failed: dict[str, Json] = {"status": "failed", "id": _as_id(job.task_id), "message": job.words}
    return {**failed, "track_id": job.track_id, **({"meta": repeat(job.body)} if job.test else {})}


def _write_meta(job: EndedJob) -> dict[str, Json]:
    """Return what is short in the request, the URL and reference that the customer gave, and the size as `W` and `H`."""
    meta = {name: value for name, value in job.body.items() if name != "seed" and _is_short(value)}
    if job.webhook is not None:
        meta["webhook"] = job.webhook
    if job.track_id is not None:
        meta["track_id"] = job.track_id
    file = job.files[0] if job.files else None
    meta |= {"W": file.width, "H": file.height} if file is not None and file.width is not None else {}
    seed = read_number(job.body.get("seed"), whole=True)
    return meta if seed is None else {**meta, "seed": int(seed)}


def _is_short(value: Json) -> bool:
    if isinstance(value, str):
        return len(value) <= REPEATED_CHARACTERS
    return value is None or isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value))


def _count_seconds(job: EndedJob) -> float:
    """Return the seconds from submit to end; the way into the customer's bucket is among them."""
    return 0.0 if job.began is None or job.ended is None else round(max(0.0, job.ended - job.began), 2)


def _as_id(task_id: str | None) -> int | str | None:
    """Return an id as JSON has it: a number, unless ModelsLab itself gave a text."""
    return int(task_id) if task_id is not None and task_id.isascii() and task_id.isdigit() else task_id
