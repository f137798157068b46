"""How Novita names its tasks and talks about them."""

from __future__ import annotations

import secrets
import uuid

from service.sandbox.novita.results import EVENT_TYPE, claim_result, event_bytes, task_result
from service.sandbox.settings import SandboxSettings
from service.sandbox.state import Claim, Sandbox, Task
from service.sandbox.submissions import Submission

_CLAIMED_STATUS: dict[Claim, str] = {
    "success": "TASK_STATUS_SUCCEED",
    "failure": "TASK_STATUS_FAILED",
    "processing": "TASK_STATUS_PROCESSING",
    "unknown": "TASK_STATUS_LOST",
}


class Novita:
    """Novita's `Dialect`: UUIDs, events, five tries of five seconds."""

    def new_task_id(self, sandbox: Sandbox, submission: Submission) -> str:
        """Return a UUID."""
        return str(uuid.uuid4())

    def new_names(self, count: int) -> tuple[str, ...]:
        """Return hexadecimal names, as in Novita's bucket."""
        return tuple(secrets.token_hex(16) for _ in range(count))

    def final_event(self, sandbox: Sandbox, task: Task) -> bytes:
        """Return the event that says what task-result says."""
        return event_bytes(task_result(sandbox, task))

    def claim_event(self, task: Task, claim: Claim, urls: tuple[str, ...] = (), task_id: str | None = None) -> bytes:
        """Return an event that claims something; an unknown one has an unknown event_type too."""
        event_type = "ASYNC_TASK_MOVED" if claim == "unknown" else EVENT_TYPE
        return event_bytes(claim_result(task, _CLAIMED_STATUS[claim], urls, task_id), event_type)

    def retry_seconds(self, settings: SandboxSettings) -> tuple[float, ...]:
        """Return the waits of the settings."""
        return settings.callback_retry_seconds

    def timeout_seconds(self, settings: SandboxSettings) -> float:
        """Return the time-out of the settings."""
        return settings.callback_timeout_seconds


NOVITA = Novita()
