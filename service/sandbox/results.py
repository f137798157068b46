"""The body of task-result, and the same thing inside of a callback.

Shapes as on https://novita.ai/docs/api-reference/model-apis-task-result and …/model-apis-webhook: TTLs are strings,
progress_percent stays 0, the seed is a string, debug_info holds strings.
"""

from __future__ import annotations

from typing import Any

from service.sandbox.envelopes import encode
from service.sandbox.signing import URL_LIFE_SECONDS, sign_path
from service.sandbox.state import Sandbox, Task

EVENT_TYPE = "ASYNC_TASK_RESULT"
FAILURE_REASON = "the model ran out of memory (a fault of the sandbox)"
PRIVATE_URL = "http://169.254.169.254/latest/meta-data/"
TEST_IMAGE_PATH = "/test_data/image_01.jpeg"


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
    return {
        "extra": _extra(sandbox, task),
        "task": _task(task, task.status, FAILURE_REASON if task.status == "TASK_STATUS_FAILED" else ""),
        "images": _images(sandbox, task, look),
        "videos": [],
        "audios": [],
    }


def event_bytes(payload: dict[str, Any], event_type: str = EVENT_TYPE) -> bytes:
    """Return a callback's body; here `task` comes before `extra`, as in Novita's sample."""
    names = ("task", "extra", "images", "videos", "audios")
    return encode({"event_type": event_type, "payload": {name: payload[name] for name in names}})


def claim_result(task: Task, status: str, urls: tuple[str, ...] = (), task_id: str | None = None) -> dict[str, Any]:
    """Return what somebody merely claims about a task, in task-result's shape."""
    said = _task(task, status, FAILURE_REASON if status == "TASK_STATUS_FAILED" else "")
    return {
        "extra": {"enable_nsfw_detection": False, "webhook": {"url": task.submission.webhook_url}},
        "task": {**said, "task_id": task_id or task.task_id},
        "images": [_image(url, "jpeg", None) for url in urls],
        "videos": [],
        "audios": [],
    }


def mock_result(sandbox: Sandbox, task: Task) -> dict[str, Any]:
    """Return the payload of a test-mode event: never the task's own images, always the one under /test_data/."""
    status = task.submission.test_status or ""
    url = sandbox.public_url + sign_path(sandbox.signing_key, TEST_IMAGE_PATH, sandbox.now())
    return claim_result(task, status, (url,) if status == "TASK_STATUS_SUCCEED" else ())


def image_path(task: Task, index: int, image_type: str) -> str:
    """Return the path of one image, as in Novita's bucket."""
    return f"/prod/{task.task_id}/{task.image_names[index]}.{image_type}"


def claimed_image_type(sandbox: Sandbox, task: Task) -> str:
    """Return what the result says the images are."""
    forced = sandbox.settings.lean or "mislabeled" in task.submission.faults
    return "jpeg" if forced else task.submission.image_type


def _task(task: Task, status: str, reason: str) -> dict[str, Any]:
    return {
        "task_id": task.task_id,
        "task_type": task.task_type,
        "status": status,
        "reason": reason,
        "eta": 0,
        "progress_percent": 0,
    }


def _extra(sandbox: Sandbox, task: Task) -> dict[str, Any]:
    asked, ended = task.submission, task.finished_at
    extra: dict[str, Any] = {
        "seed": str(task.seed),
        "enable_nsfw_detection": asked.nsfw_detection,
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


def _milliseconds(at: float) -> str:
    return str(round(at * 1000))


def _images(sandbox: Sandbox, task: Task, look: int) -> list[dict[str, Any]]:
    faults = task.submission.faults
    if task.status != "TASK_STATUS_SUCCEED" or "no_outputs" in faults:
        return []
    if "no_outputs_once" in faults and look <= faults.value("no_outputs_once"):
        return []
    image_type, at = claimed_image_type(sandbox, task), _signed_at(sandbox, task, look)
    nsfw = {"valid": True, "confidence": 0} if task.submission.nsfw_detection else None
    urls = (_url(sandbox, task, index, image_type, at) for index in range(len(task.image_names)))
    return [_image(url, image_type, nsfw) for url in urls]


def _image(url: str, image_type: str, nsfw: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "image_url": url,
        "image_url_ttl": str(URL_LIFE_SECONDS),
        "image_type": image_type,
        "nsfw_detection_result": nsfw,
    }


def _signed_at(sandbox: Sandbox, task: Task, look: int) -> float:
    faults = task.submission.faults
    if "expired_forever" in faults or ("expired" in faults and look <= faults.value("expired")):
        return sandbox.now() - 2 * URL_LIFE_SECONDS
    # In every sample of the documentation a URL is as old as its image: looking again does not sign anew.
    return sandbox.now() if "expired" in faults else task.finished_at or task.submitted_at


def _url(sandbox: Sandbox, task: Task, index: int, image_type: str, at: float) -> str:
    if "private_url" in task.submission.faults:
        return PRIVATE_URL
    return sandbox.public_url + sign_path(sandbox.signing_key, image_path(task, index, image_type), at)
