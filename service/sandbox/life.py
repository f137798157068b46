"""What happens to a task after it was accepted: lies first, then the wait, the end, and its callbacks."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator

from service.sandbox.callbacks import send_callback, try_callback
from service.sandbox.results import PRIVATE_URL, claim_result, event_bytes, mock_result, task_result
from service.sandbox.state import Sandbox, Task

GARBAGE = b'\x00\xff\xfe{"event_type": "ASYNC_TASK_RESULT", "payload": \xc3\x28'
STRANGERS_URLS = ("https://attacker.example/image.jpeg", PRIVATE_URL)


async def live(sandbox: Sandbox, task: Task) -> None:
    """Take a task from its submit to its last callback, the way its faults want it."""
    for kind, body in _lies(sandbox, task):
        await try_callback(sandbox, task, body, kind)
    if "stuck" in task.submission.faults:
        task.called_back.set()
        return
    await _work(sandbox, task)
    processing = event_bytes(claim_result(task, "TASK_STATUS_PROCESSING"))
    task.finished_at = sandbox.now()
    await _call_back(sandbox, task, processing)


async def send_mock(sandbox: Sandbox, task: Task) -> bool:
    """Send a test-mode event, once; False when it did not arrive."""
    return await try_callback(sandbox, task, event_bytes(mock_result(sandbox, task)), "test")


def _lies(sandbox: Sandbox, task: Task) -> Iterator[tuple[str, bytes]]:
    faults = task.submission.faults
    if not faults.values:
        return
    success, failure = "TASK_STATUS_SUCCEED", "TASK_STATUS_FAILED"
    if "malformed" in faults:
        yield "malformed", GARBAGE
    if "oversized" in faults:
        yield "oversized", event_bytes(claim_result(task, success, ("https://attacker.example/" + "x" * 1_100_000,)))
    if "unknown_event" in faults:
        yield "unknown_event", event_bytes(claim_result(task, "TASK_STATUS_LOST"), "ASYNC_TASK_MOVED")
    if "foreign" in faults:
        yield "foreign", event_bytes(claim_result(task, success, STRANGERS_URLS, _someone_elses(sandbox, task)))
    if "forged" in faults:
        yield "forged", event_bytes(claim_result(task, success, STRANGERS_URLS))
    if "forged_failure" in faults:
        yield "forged_failure", event_bytes(claim_result(task, failure))


def _someone_elses(sandbox: Sandbox, task: Task) -> str:
    return next((task_id for task_id in sandbox.tasks if task_id != task.task_id), str(uuid.uuid4()))


async def _work(sandbox: Sandbox, task: Task) -> None:
    faults = task.submission.faults
    if "held" in faults:
        await task.released.wait()
    else:
        await asyncio.sleep(faults.value("slow") if "slow" in faults else sandbox.settings.latency_seconds)


async def _call_back(sandbox: Sandbox, task: Task, processing: bytes) -> None:
    faults = task.submission.faults
    if task.submission.webhook_url is None or "lost" in faults:
        task.called_back.set()
        return
    body = event_bytes(task_result(sandbox, task))
    if "duplicated" in faults:
        await asyncio.gather(*(send_callback(sandbox, task, body, "duplicated") for _ in range(2)))
    await send_callback(sandbox, task, body)
    if "reordered" in faults:
        await try_callback(sandbox, task, processing, "reordered")
