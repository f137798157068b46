"""The body of task-result, and the same thing inside of a callback.

Shapes as on https://novita.ai/docs/api-reference/model-apis-task-result and …/model-apis-webhook: TTLs are strings,
progress_percent stays 0, the seed is a string, debug_info holds strings.
"""

from __future__ import annotations

from typing import Any

from service.sandbox.answers import encode
from service.sandbox.downloads import TEST_IMAGE_PATH
from service.sandbox.novita.submissions import NovitaSubmission
from service.sandbox.outputs import PRIVATE_URL, claimed_type, file_name, shows_outputs
from service.sandbox.signing import URL_LIFE_SECONDS, sign_path
from service.sandbox.state import Sandbox, Task
from service.sandbox.submissions import Kind

EVENT_TYPE = "ASYNC_TASK_RESULT"
FAILURE_REASON = "the model ran out of memory (a fault of the sandbox)"
SUCCEED, FAILED = "TASK_STATUS_SUCCEED", "TASK_STATUS_FAILED"
_TASK_TYPES = {
    "txt2img": "TXT_TO_IMG",
    "img2img": "IMG_TO_IMG",
    "txt2video": "TXT_TO_VIDEO",
    "img2video": "IMG_TO_VIDEO",
}


def result_bytes(sandbox: Sandbox, task: Task) -> bytes:
    """Return the answer to the next look-up of a task, encoded."""
    if task.finished_at is None:
        return encode(task_result(sandbox, task))
    task.lookups_after_end += 1
    if task.encoded is None:
        encoded = encode(task_result(sandbox, task, task.lookups_after_end))
        # Only faults make two look-ups after the end differ.
        task.encoded = None if task.submission.faults.values else encoded
        return encoded
    return task.encoded


def task_result(sandbox: Sandbox, task: Task, look: int = 0) -> dict[str, Any]:
    """Return what task-result says; look: 0 in a callback, then 1, 2, … for the look-ups after the end."""
    status = status_of(task)
    return {
        "extra": _extra(task),
        "task": _task(task, status, FAILURE_REASON if status == FAILED else ""),
        **_lists(task, [_file(sandbox, task, url) for url in _urls(sandbox, task, look)]),
    }


def event_bytes(payload: dict[str, Any], event_type: str = EVENT_TYPE) -> bytes:
    """Return a callback's body; here `task` comes before `extra`, as in Novita's sample."""
    names = ("task", "extra", "images", "videos", "audios")
    return encode({"event_type": event_type, "payload": {name: payload[name] for name in names}})


def claim_result(task: Task, status: str, urls: tuple[str, ...] = (), task_id: str | None = None) -> dict[str, Any]:
    """Return what somebody merely claims about a task, in task-result's shape."""
    said = _task(task, status, FAILURE_REASON if status == FAILED else "")
    kind = task.submission.wanted.kind
    return {
        "extra": {"enable_nsfw_detection": False, "webhook": {"url": task.submission.webhook_url}},
        "task": {**said, "task_id": task_id or task.task_id},
        **_lists(task, [_entry(kind, url, _CLAIMED_TYPES[kind]) for url in urls]),
    }


def mock_result(sandbox: Sandbox, task: Task) -> dict[str, Any]:
    """Return the payload of a test-mode event: never the task's own images, always the one under /test_data/."""
    status = task.submission.test_status or ""
    url = sandbox.public_url + sign_path(sandbox.signing_key, TEST_IMAGE_PATH, sandbox.now())
    mock = claim_result(task, status)
    return {**mock, "images": [_entry("image", url, "jpeg")] if status == SUCCEED else []}


def status_of(task: Task) -> str:
    """Return Novita's name for where the task stands."""
    faults = task.submission.faults
    if task.finished_at is not None:
        return FAILED if task.fails else SUCCEED
    if "queued" in faults:
        return "TASK_STATUS_QUEUED"
    return "TASK_STATUS_UNKNOWN" if "unknown_status" in faults else "TASK_STATUS_PROCESSING"


def signed_url(sandbox: Sandbox, task: Task, index: int, at: float, life_seconds: int = URL_LIFE_SECONDS) -> str:
    """Return the URL of one output, signed at `at`."""
    if "private_url" in task.submission.faults:
        return PRIVATE_URL
    path = f"/prod/{task.task_id}/{file_name(sandbox, task, index)}"
    return sandbox.public_url + sign_path(sandbox.signing_key, path, at, life_seconds)


_CLAIMED_TYPES: dict[Kind, str] = {"image": "jpeg", "video": "mp4", "audio": "wav"}


def _lists(task: Task, entries: list[dict[str, Any]]) -> dict[str, Any]:
    named = f"{task.submission.wanted.kind}s"
    return {name: entries if name == named else [] for name in ("images", "videos", "audios")}


def _task(task: Task, status: str, reason: str) -> dict[str, Any]:
    endpoint = task.submission.endpoint
    return {
        "task_id": task.task_id,
        "task_type": _TASK_TYPES.get(endpoint, endpoint.upper().replace("-", "_")),
        "status": status,
        "reason": reason,
        "eta": 0,
        "progress_percent": 0,
    }


def _extra(task: Task) -> dict[str, Any]:
    asked, ended = task.submission, task.finished_at
    extra: dict[str, Any] = {
        "seed": str(task.seed),
        "enable_nsfw_detection": _detects_nsfw(task),
        "debug_info": {
            "request_info": "",
            "submit_time_ms": _milliseconds(task.submitted_at),
            "execute_time_ms": _milliseconds(task.submitted_at),
            "complete_time_ms": "" if ended is None else _milliseconds(ended),
        },
    }
    if asked.webhook_url is not None and "no_echo" not in asked.faults:
        extra["webhook"] = {"url": asked.webhook_url}
    return extra


def _detects_nsfw(task: Task) -> bool:
    return isinstance(task.submission, NovitaSubmission) and task.submission.nsfw_detection


def _milliseconds(at: float) -> str:
    return str(round(at * 1000))


def _urls(sandbox: Sandbox, task: Task, look: int) -> list[str]:
    if not shows_outputs(task, look):
        return []
    at = _signed_at(sandbox, task, look)
    return [signed_url(sandbox, task, index, at) for index in range(len(task.names))]


def _file(sandbox: Sandbox, task: Task, url: str) -> dict[str, Any]:
    entry = _entry(task.submission.wanted.kind, url, claimed_type(sandbox, task))
    if "nsfw_detection_result" in entry and _detects_nsfw(task):
        entry["nsfw_detection_result"] = {"valid": True, "confidence": 0}
    if "audio_metadata" in entry:
        entry["audio_metadata"]["text"] = task.submission.caption
    return entry


def _entry(kind: Kind, url: str, file_type: str) -> dict[str, Any]:
    entry: dict[str, Any] = {f"{kind}_url": url, f"{kind}_url_ttl": str(URL_LIFE_SECONDS), f"{kind}_type": file_type}
    if kind == "image":
        entry["nsfw_detection_result"] = None
    if kind == "audio":
        entry["audio_metadata"] = {"text": "", "start_time": 0, "end_time": 0.25}
    return entry


def _signed_at(sandbox: Sandbox, task: Task, look: int) -> float:
    faults = task.submission.faults
    if "expired_forever" in faults or ("expired" in faults and look <= faults.value("expired")):
        return sandbox.now() - 2 * URL_LIFE_SECONDS
    # In every sample of the documentation a URL is as old as its image: looking again does not sign anew.
    return sandbox.now() if "expired" in faults else task.finished_at or task.submitted_at
