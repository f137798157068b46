"""What happens to a task after it was accepted: lies first, then the wait, the end, and its callbacks."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator

from service.sandbox.callbacks import send_callback, try_callback
from service.sandbox.outputs import PRIVATE_URL
from service.sandbox.state import Sandbox, Task

GARBAGE = b'\x00\xff\xfe{"event_type": "ASYNC_TASK_RESULT", "payload": \xc3\x28'
STRANGERS_URLS = ("https://attacker.example/image.jpeg", PRIVATE_URL)
_ENDLESS_URL = "https://attacker.example/" + "x" * 1_100_000


async def live(sandbox: Sandbox, task: Task) -> None:
    """Take a task from its submit to its last callback, the way its faults want it."""
    for kind, body in _lies(sandbox, task):
        await try_callback(sandbox, task, body, kind)
    if "stuck" in task.submission.faults:
        task.called_back.set()
        return
    if task.finished_at is None:
        await work(sandbox, task)
        task.finished_at = sandbox.now()
    await _call_back(sandbox, task)


async def work(sandbox: Sandbox, task: Task) -> None:
    """Take the time that a task takes."""
    faults = task.submission.faults
    if "held" in faults:
        await task.released.wait()
    else:
        await asyncio.sleep(faults.value("slow") if "slow" in faults else sandbox.settings.latency_seconds)


def _lies(sandbox: Sandbox, task: Task) -> Iterator[tuple[str, bytes]]:
    faults, claim = task.submission.faults, task.dialect.claim_event
    if not faults.values:
        return
    if "malformed" in faults:
        yield "malformed", GARBAGE
    if "oversized" in faults:
        yield "oversized", claim(task, "success", (_ENDLESS_URL,))
    if "unknown_event" in faults:
        yield "unknown_event", claim(task, "unknown")
    if "foreign" in faults:
        yield "foreign", claim(task, "success", STRANGERS_URLS, _someone_elses(sandbox, task))
    if "forged" in faults:
        yield "forged", claim(task, "success", STRANGERS_URLS)
    if "forged_failure" in faults:
        yield "forged_failure", claim(task, "failure")


def _someone_elses(sandbox: Sandbox, task: Task) -> str:
    return next((other.task_id for other in sandbox.tasks.values() if _is_other(other, task)), str(uuid.uuid4()))


def _is_other(other: Task, task: Task) -> bool:
    return other is not task and other.dialect is task.dialect


async def _call_back(sandbox: Sandbox, task: Task) -> None:
    faults = task.submission.faults
    if task.submission.webhook_url is None or "lost" in faults:
        task.called_back.set()
        return
    body = task.dialect.final_event(sandbox, task)
    if "duplicated" in faults:
        await asyncio.gather(*(send_callback(sandbox, task, body, "duplicated") for _ in range(2)))
    await send_callback(sandbox, task, body)
    if "reordered" in faults:
        await try_callback(sandbox, task, task.dialect.claim_event(task, "processing"), "reordered")
