"""Is all as it should be? Each check looks at the evidence and lists what is wrong; an empty list is a pass."""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from service.demo.evidence import Evidence, Played, callback_tokens

_ENDS = {"job.succeeded", "job.failed", "job.canceled"}
_FORMATS = {"image/jpeg": "JPEG", "image/png": "PNG", "image/webp": "WEBP"}


@dataclass(frozen=True)
class Check:
    """One thing that was checked, and what is wrong with it."""

    claim: str
    mistakes: list[str]

    @property
    def ok(self) -> bool:
        """Tell whether it holds."""
        return not self.mistakes


def check_all(evidence: Evidence, hidden: tuple[str, ...]) -> list[Check]:
    """Return what was checked; hidden: texts that must not be in the log."""
    stored = sum(len(_stored(one)) for one in evidence.played)
    paid = sum(not line["test"] for line in evidence.submits)
    events = sum(len(one.events or ()) for one in evidence.played)
    checks: list[tuple[str, Callable[[Evidence], Iterator[str]]]] = [
        (f"each of the {len(evidence.played)} submits ended as it should", _ends),
        (f"nothing was paid twice: {paid} paid submits in the provider's ledger, one for each job that ran", _payments),
        (f"all {stored} outputs are in the bucket, byte for byte as the API says", _objects),
        ("nothing else is in the bucket", _strays),
        (f"all {events} events are numbered without gaps, and each job has one end, the last of them", _events),
    ]
    found = [Check(claim, list(check(evidence))) for claim, check in checks]
    return [*found, Check("no secret is in the service's log", list(_leaks(evidence, hidden)))]


def find_mistakes(one: Played) -> list[str]:
    """Return how a scenario's end differs from its only right one."""
    wanted, job = one.scenario, one.job
    if one.status != wanted.status:
        return [f"{one.status} instead of {wanted.status}"]
    if job is None:
        return [] if (one.refusal or {}).get("code") == "invalid_request" else ["refused for another reason"]
    error = None if job["error"] is None else job["error"]["code"]
    pairs = [
        ("verified_by", job["verified_by"], wanted.verified_by),
        ("outputs", len(job["outputs"]), wanted.outputs),
        ("error", error, wanted.error),
    ]
    mistakes = [f"{name} is {found} instead of {right}" for name, found, right in pairs if found != right]
    if not wanted.callbacks(Counter(str(said) for said in one.verdicts or ())):
        mistakes.append(f"verdicts on callbacks are {one.verdicts}")
    if wanted.replayed and one.replayed_as != job["id"]:
        mistakes.append("the second submit made another job")
    return mistakes


def _ends(evidence: Evidence) -> Iterator[str]:
    for one in evidence.played:
        yield from (f"{one.scenario.name}: {mistake}" for mistake in find_mistakes(one))


def _payments(evidence: Evidence) -> Iterator[str]:
    for one in evidence.played:
        paid = evidence.paid(one.scenario)
        if len(paid) != one.scenario.paid:
            yield f"{one.scenario.name}: {len(paid)} paid submits instead of {one.scenario.paid}"
        tasks = [line["task_id"] for line in paid]
        if one.job is not None and tasks and one.job["provider_task_id"] not in tasks:
            yield f"{one.scenario.name}: the task is not the one that was paid for"
    if strangers := {line["prompt"] for line in evidence.submits} - {one.scenario.prompt for one in evidence.played}:
        yield f"{len(strangers)} submits belong to no job"


def _stored(one: Played) -> list[dict[str, Any]]:
    outputs = [] if one.job is None else one.job["outputs"]
    return [output for output in outputs if output["status"] == "stored"]


def _objects(evidence: Evidence) -> Iterator[str]:
    for one in evidence.played:
        for output in _stored(one):
            body = evidence.objects.get(output["key"])
            if body is None:
                yield f"{output['key']} is not in the bucket"
            else:
                yield from (f"{output['key']}: {mistake}" for mistake in _compare(output, body))


def _compare(output: dict[str, Any], body: bytes) -> Iterator[str]:
    from PIL import Image  # noqa: PLC0415 - the command line starts without it

    if hashlib.sha256(body).hexdigest() != output["sha256"]:
        yield "the digest is another one"
    if len(body) != output["bytes"]:
        yield "the size is another one"
    with Image.open(io.BytesIO(body)) as image:
        if (image.format, image.size) != (_FORMATS.get(output["media_type"]), (output["width"], output["height"])):
            yield f"it is a {image.format} of {image.size[0]} by {image.size[1]} pixels"


def _strays(evidence: Evidence) -> Iterator[str]:
    listed = {output["key"] for one in evidence.played for output in _stored(one)}
    yield from (f"{key} belongs to no job" for key in evidence.objects if key not in listed)


def _events(evidence: Evidence) -> Iterator[str]:
    for one in evidence.played:
        if one.job is None:
            continue
        events = one.events or []
        if [event["data"]["sequence"] for event in events] != list(range(1, len(events) + 1)):
            yield f"{one.scenario.name}: the numbers have gaps"
        ends = [number for number, event in enumerate(events, 1) if event["type"] in _ENDS]
        if ends != [len(events)]:
            yield f"{one.scenario.name}: events {ends} of {len(events)} are ends"
        elif events[-1]["data"]["job"] != one.job:
            yield f"{one.scenario.name}: the last event shows another job than the API"


def _leaks(evidence: Evidence, hidden: tuple[str, ...]) -> Iterator[str]:
    if any(secret in evidence.log for secret in hidden):
        yield "a key is in the log"
    if any(token in evidence.log for token in callback_tokens(evidence.submits)):
        yield "a callback's token is in the log"
    if "X-Amz-Signature" in evidence.log:
        yield "a signed URL is in the log"
