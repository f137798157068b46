"""Writing Novita's one event, which is what its webhook posts when a task has ended.

https://novita.ai/docs/api-reference/model-apis-webhook, checked 2026-09
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic_core import to_json

from service.providers.contract import Json, OutputKind
from service.providers.novita.errors import write_variable
from service.providers.novita.results import EVENT, KINDS
from service.providers.replies import read_object

TASK_TYPES = {"txt2img": "TXT_TO_IMG", "img2img": "IMG_TO_IMG"}
File = tuple[OutputKind, dict[str, Json]]


def write_event(
    operation: str, task_id: str, status: str, *, reason: str, extra: dict[str, Json], files: Sequence[File]
) -> bytes:
    """Return the event's bytes; here `task` comes before `extra`, as in Novita's sample, and every list is there."""
    task = {
        "eta": 0,
        "progress_percent": 0,  # also of success, in every sample
        "reason": reason,
        "status": status,
        "task_id": task_id,
        "task_type": TASK_TYPES.get(operation) or write_variable(operation),
    }
    lists = {f"{kind}s": [file for its_kind, file in files if its_kind == kind] for kind in KINDS}
    return to_json({"event_type": EVENT, "payload": {"task": task, "extra": extra, **lists}})


def echo_extra(body: Mapping[str, Json], webhook: str | None) -> dict[str, Json]:
    """Return what Novita echoes of a request; the webhook's URL is a secret there too."""
    asked = read_object(body.get("extra")).get("enable_nsfw_detection") is True
    return {"enable_nsfw_detection": asked, **({} if webhook is None else {"webhook": {"url": webhook}})}


def name_file(
    kind: OutputKind, url: str, ttl_seconds: int, suffix: str, nsfw: Mapping[str, Json] | None = None
) -> File:
    """Return one output. The time to live is a text, as in most samples; only images were looked at for nudity."""
    file: dict[str, Json] = {f"{kind}_url": url, f"{kind}_url_ttl": str(ttl_seconds), f"{kind}_type": suffix}
    if kind == "image":
        file["nsfw_detection_result"] = None if nsfw is None else dict(nsfw)
    return kind, file
