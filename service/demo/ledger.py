"""Does the provider's ledger hold one paid submit for each job that ran, and nothing else?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from service.demo.evidence import Evidence, Played


def find_wrong_payments(evidence: Evidence) -> Iterator[str]:
    """Yield what was paid twice, for nothing, or by nobody that we know."""
    for one in evidence.played:
        paid = evidence.paid(one.scenario)
        if len(paid) != one.scenario.paid:
            yield f"{one.scenario.label}: {len(paid)} paid submits instead of {one.scenario.paid}"
        if paid and not _is_task_of(one, paid):
            yield f"{one.scenario.label}: the task is not the one that was paid for"
    if strangers := sum(not _is_ours(evidence, line) for line in evidence.submits):
        yield f"{strangers} submits belong to no job"


def _is_task_of(one: Played, paid: list[dict[str, Any]]) -> bool:
    # A call that is answered with the result has no task; the sandbox numbers those for its own ledger only.
    if one.job is None or one.scenario.operation.answers == "result":
        return True
    return one.job["provider_task_id"] in [line["task_id"] for line in paid]


def _is_ours(evidence: Evidence, line: dict[str, Any]) -> bool:
    if any(one.scenario.owns(line) for one in evidence.played):
        return True
    mocks = (job["provider_task_id"] for check in evidence.webhook_checks for job in check.jobs)
    return bool(line["test"]) and line["task_id"] in mocks
