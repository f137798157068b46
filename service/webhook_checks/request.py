"""What `POST /v1/webhook-checks` takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, NotRequired

from pydantic import Field, with_config
from typing_extensions import TypedDict

from service.providers.checking import STRICT, InputCheck
from service.providers.contract import Mistake, Operation, Provider, TaskStatus

BOTH: tuple[TaskStatus, ...] = ("TASK_STATUS_SUCCEED", "TASK_STATUS_FAILED")


@with_config(STRICT)
class CheckIn(TypedDict):
    """The body."""

    provider: str
    operation: NotRequired[str | None]
    return_task_status: NotRequired[Annotated[list[TaskStatus], Field(min_length=1, max_length=2)] | None]


_CHECK = InputCheck(CheckIn, root="")


@dataclass(frozen=True, slots=True)
class CheckRequest:
    """A check to be made. statuses: what the mocks shall claim, each once."""

    provider: str
    operation: str
    statuses: tuple[TaskStatus, ...] = BOTH


def read_check_request(given: Any, providers: Mapping[str, Provider]) -> CheckRequest | list[Mistake]:
    """Read the body; every mistake at once."""
    mistakes = _CHECK.find_mistakes(given)
    name = given.get("provider") if isinstance(given, dict) else None
    if not isinstance(name, str):
        return mistakes
    if name not in providers:
        mistakes.append(Mistake("provider", f"must be one of {', '.join(providers)}", name[:100]))
        return mistakes
    operations = providers[name].operations
    asked = given.get("operation")
    if isinstance(asked, str) and asked not in operations:
        mistakes.append(Mistake("operation", f"must be one of {', '.join(operations)}", asked[:100]))
    elif not operations:
        mistakes.append(Mistake("provider", "all its operations are switched off", name))
    if mistakes:
        return mistakes
    statuses = tuple(dict.fromkeys(given.get("return_task_status") or BOTH))
    return CheckRequest(name, asked or choose_operation(operations), statuses)


def choose_operation(operations: Mapping[str, Operation]) -> str:
    """Return the first operation whose mocks the provider itself sends, else the first."""
    return next((name for name, found in operations.items() if found.native_test_mode), next(iter(operations)))
