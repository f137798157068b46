"""What ModelsLab says about a task: in the answer to its submit, to a look-up, and in a callback.

https://docs.modelslab.com/enterprise-api/text-to-image/fetch-queue-image, …/webhooks; older editions of both for the rest
"""

from __future__ import annotations

import secrets
from typing import Any

from service.sandbox.modelslab.submissions import IMAGES, ModelsLabSubmission
from service.sandbox.outputs import PRIVATE_URL, file_name, shows_outputs
from service.sandbox.state import Claim, Sandbox, Task

FAILURE = "Processing failed: the model ran out of memory (a fault of the sandbox)"
_TIP = "Get 20x faster image generation using enterprise plan. (The sandbox says so because ModelsLab does.)"
_STATUS: dict[Claim, str] = {"success": "success", "failure": "failed", "processing": "processing", "unknown": "moved"}


def submit_answer(sandbox: Sandbox, task: Task) -> dict[str, Any]:
    """Return the answer to a submit: that it goes on, or the result of a task that has already ended."""
    if task.finished_at is None:
        return _processing_answer(sandbox, task)
    if task.fails:
        return look_up_answer(sandbox, task)
    result = {"status": "success", "generationTime": _seconds(task), "id": _submit_id(task)}
    return {**result, "output": _outputs(sandbox, task), **_of_products(sandbox, task), "meta": _meta(task)}


def look_up_answer(sandbox: Sandbox, task: Task) -> dict[str, Any]:
    """Return the answer to the next look-up of a task; it has neither `meta` nor `track_id`."""
    faults = task.submission.faults
    if task.finished_at is None:
        if "messege" in faults:
            return {"status": "processing", "messege": "Request processing"}
        status = "waiting" if "unknown_status" in faults else "processing"
        return {"status": status, "id": shown_id(task), "message": "Request processing", "output": _empty(task)}
    if task.fails:
        return {"status": "failed", "id": "", "message": "Failed, Try Again", "output": ""}
    task.lookups_after_end += 1
    outputs = _outputs(sandbox, task, task.lookups_after_end)
    return {"status": "success", "id": shown_id(task), "output": outputs, **_of_products(sandbox, task)}


def final_event(sandbox: Sandbox, task: Task) -> dict[str, Any]:
    """Return the callback about a task that has ended."""
    if task.fails:
        return claimed_event(task, "failure")
    outputs = _empty(task) if "empty_webhook" in task.submission.faults else _outputs(sandbox, task, 0)
    return {**claimed_event(task, "success"), "output": outputs, "generationTime": _seconds(task), "meta": _meta(task)}


def claimed_event(task: Task, claim: Claim, urls: tuple[str, ...] = (), task_id: str | None = None) -> dict[str, Any]:
    """Return what somebody merely claims about a task, in the shape of a callback."""
    event: dict[str, Any] = {"status": _STATUS[claim], "id": as_id(task_id or task.task_id)}
    if claim == "failure":
        event["message"] = FAILURE
    else:
        event["output"] = list(urls) or _empty(task)
    if claim == "unknown":
        event["event"] = "generation.moved"
    return {**event, "track_id": _asked(task).track_id}


def shown_id(task: Task) -> int | str:
    """Return the id as it stands in answers: a number, unless a fault made it a text."""
    return as_id(task.task_id)


def as_id(task_id: str) -> int | str:
    """Return an id as JSON has it."""
    return int(task_id) if task_id.isascii() and task_id.isdigit() else task_id


def _processing_answer(sandbox: Sandbox, task: Task) -> dict[str, Any]:
    faults = task.submission.faults
    # Every sample has the v6 URL here, whatever was called.
    fetch = f"{sandbox.public_url}/api/v6/images/fetch/{task.task_id}"
    return {
        "status": "processing",
        "tip": _TIP,
        "eta": faults.value("slow") or sandbox.settings.latency_seconds,
        "message": "Try to fetch request after seconds estimated",
        "webhook_status": "",
        "fetch_result": "" if "no_id" in faults else fetch,
        "id": _submit_id(task),
        "output": _empty(task),
        "future_links": _future_links(sandbox, task),
        "meta": _meta(task),
    }


def _submit_id(task: Task) -> int | str | None:
    faults = task.submission.faults
    return None if "id_null" in faults or "no_id" in faults else shown_id(task)


def _future_links(sandbox: Sandbox, task: Task) -> list[str]:
    """Return links to nothing: those of ModelsLab don't exist yet either."""
    return [f"{sandbox.public_url}/generations/{secrets.token_hex(16)}-{index}.png" for index in range(len(task.names))]


def _outputs(sandbox: Sandbox, task: Task, look: int = 0) -> list[str] | str:
    if not shows_outputs(task, look):
        return _empty(task)
    if "private_url" in task.submission.faults:
        return [PRIVATE_URL for _ in task.names]
    names = (file_name(sandbox, task, index) for index in range(len(task.names)))
    return [f"{sandbox.public_url}/generations/{name}" for name in names]


def _empty(task: Task) -> list[str] | str:
    return "" if "output_text" in task.submission.faults else []


def _of_products(sandbox: Sandbox, task: Task) -> dict[str, Any]:
    """Return what the newer products add."""
    if _asked(task).product in IMAGES:
        return {}
    links = _outputs(sandbox, task, task.lookups_after_end)
    return {"warning": "", "proxy_links": links, "nsfw_content_detected": False, "webhook_status": ""}


def _meta(task: Task) -> dict[str, Any]:
    return {**_asked(task).meta, "seed": task.seed}


def _asked(task: Task) -> ModelsLabSubmission:
    if not isinstance(task.submission, ModelsLabSubmission):
        raise TypeError("not a task of ModelsLab's")
    return task.submission


def _seconds(task: Task) -> float:
    return round((task.finished_at or task.submitted_at) - task.submitted_at, 2)
