"""The report of a check: its steps, in the order in which a callback would meet them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

OF_THE_URL = ("public_url_set", "public_url_resolves", "public_url_reachable", "tls_valid", "token_accepted")
OF_A_JOB = ("job_submitted", "callback_arrived", "callback_parsed", "status_as_asked")
# What only tells how the public URL looks from this machine; callbacks that arrive prove more.
_FROM_HERE = frozenset({"public_url_resolves", "public_url_reachable", "token_accepted"})


@dataclass(frozen=True, slots=True)
class Step:
    """One step. ok: None when it could not be tried, or does not matter. code: None when all is well."""

    step: str
    ok: bool | None
    code: str | None = None
    message: str | None = None
    hint: str | None = None
    seconds: float | None = None
    job_id: str | None = None
    return_task_status: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the step as the API shows it."""
        return {
            "step": self.step,
            "ok": self.ok,
            "code": self.code,
            "message": self.message,
            "hint": self.hint,
            "seconds": None if self.seconds is None else round(self.seconds, 3),
            "job_id": self.job_id,
            "return_task_status": self.return_task_status,
        }


def skipped(step: str, message: str = "not tried after the failure before it") -> Step:
    """Return a step that could not be tried."""
    return Step(step, None, "skipped", message)


def fill(steps: Sequence[Step], names: Sequence[str]) -> list[Step]:
    """Return the steps with those that are missing at the end skipped."""
    return [*steps, *(skipped(name) for name in names[len(steps) :])]


@dataclass(frozen=True, slots=True)
class Report:
    """What a check came to. seconds: how long all of it took."""

    provider: str
    operation: str
    public_url: str | None
    steps: list[Step] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Return whether no step failed."""
        return all(step.ok is not False for step in self.steps)

    def as_json(self) -> dict[str, Any]:
        """Return the report as the API shows it."""
        return {
            "object": "webhook_check",
            "provider": self.provider,
            "operation": self.operation,
            "public_url": self.public_url,
            "ok": self.ok,
            "seconds": round(self.seconds, 3),
            "steps": [step.as_json() for step in self.steps],
        }


def weigh(of_the_url: Sequence[Step], of_jobs: Sequence[Step]) -> list[Step]:
    """Return all steps: what fails only from this machine fails nothing once every callback has arrived.

    A machine may have no way out and back in, or the door may be open for the provider's addresses alone.
    """
    came = [step.ok for step in of_jobs if step.step == "callback_arrived"]
    if not came or not all(came):
        return [*of_the_url, *of_jobs]
    return [*(_excuse(step) for step in of_the_url), *of_jobs]


def _excuse(step: Step) -> Step:
    if step.ok is not False or step.step not in _FROM_HERE:
        return step
    hint = "The callbacks arrived all the same: only this machine sees it so, and nothing has to change."
    return replace(step, ok=None, hint=hint)
