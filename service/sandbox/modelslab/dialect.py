"""How ModelsLab names its tasks and talks about them."""

from __future__ import annotations

import secrets
import uuid

from service.sandbox.answers import encode
from service.sandbox.modelslab.results import claimed_event, final_event
from service.sandbox.settings import SandboxSettings
from service.sandbox.state import Claim, Sandbox, Task
from service.sandbox.submissions import Submission


class ModelsLab:
    """ModelsLab's `Dialect`: numbers, callbacks without an envelope, one try of half a minute."""

    def new_task_id(self, sandbox: Sandbox, submission: Submission) -> str:
        """Return a number of nine digits that no task has, or a text if a fault wants one."""
        if "id_text" in submission.faults:
            return f"{secrets.token_hex(3)}-x{secrets.token_hex(3)}"
        while (task_id := str(10**8 + secrets.randbelow(9 * 10**8))) in sandbox.tasks:
            pass
        return task_id

    def new_names(self, count: int) -> tuple[str, ...]:
        """Return `<uuid>-0`, `<uuid>-1`, …"""
        stem = uuid.uuid4()
        return tuple(f"{stem}-{index}" for index in range(count))

    def final_event(self, sandbox: Sandbox, task: Task) -> bytes:
        """Return the callback about a task that has ended."""
        return encode(final_event(sandbox, task))

    def claim_event(self, task: Task, claim: Claim, urls: tuple[str, ...] = (), task_id: str | None = None) -> bytes:
        """Return a callback that claims something."""
        return encode(claimed_event(task, claim, urls, task_id))

    def retry_seconds(self, settings: SandboxSettings) -> tuple[float, ...]:
        """Return no waits: the callback is best effort."""
        return ()

    def timeout_seconds(self, settings: SandboxSettings) -> float:
        """Return the time-out of the settings."""
        return settings.modelslab_callback_timeout_seconds


MODELSLAB = ModelsLab()
