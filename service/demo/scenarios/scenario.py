"""What a scenario is: one submit, what is special about it, and its only right end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from service.demo.scenarios.body import read_prompt
from service.providers.contract import Operation
from service.providers.registry import PROVIDERS

Verdicts = Counter[str]


def confirmed(found: Verdicts) -> bool:
    """Tell whether there was one callback, and it was true."""
    return found == {"confirmed": 1}


def no_callback(found: Verdicts) -> bool:
    """Tell whether there was none."""
    return not found


@dataclass(frozen=True)
class Scenario:
    """One submit and its only right end.

    name: unique at its operation. status: the job's, or `refused` when no job may come of it. paid: submits that the
    provider may have run. callbacks: what must have become of them. replayed: it is sent a second time with the same
    Idempotency-Key.
    """

    name: str
    special: str
    body: dict[str, Any]
    status: str = "succeeded"
    verified_by: str | None = "readback"
    outputs: int = 1
    error: str | None = None
    paid: int = 1
    callbacks: Callable[[Verdicts], bool] = field(default=confirmed, repr=False)
    replayed: bool = False

    @property
    def provider(self) -> str:
        """Return whom it asks."""
        return str(self.body["provider"])

    @property
    def operation(self) -> Operation:
        """Return what it asks for."""
        return PROVIDERS[self.provider].operations[self.body["operation"]]

    @property
    def label(self) -> str:
        """Return a name that is unique in the whole batch."""
        return f"{self.provider} {self.operation.name} {self.name}"

    @property
    def is_test(self) -> bool:
        """Tell whether it asks for a mock."""
        return "test_mode" in self.body

    def owns(self, submit: dict[str, Any]) -> bool:
        """Tell whether a line of the provider's ledger is about this scenario: the prompt names it at its operation."""
        same_place = submit["provider"] == self.provider and self.operation.path.endswith(f"/{submit['endpoint']}")
        return same_place and submit["prompt"] == read_prompt(self.body["input"])
