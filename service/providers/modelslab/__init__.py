"""ModelsLab's enterprise API for images (`text2img`, `img2img`, `inpaint`), facts checked 2026-09.

https://docs.modelslab.com/enterprise-api/text-to-image/overview

What is odd about it: our key travels in the body of every request; errors come under HTTP 200; the answer to a submit may
already be the result; ids and outputs have no fixed type; callbacks are unsigned, tried once, and often carry no URL; a
look-up does not repeat our callback URL; and there is no test mode.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from service.providers.configured import configure_operations
from service.providers.contract import (
    CallbackHint,
    CheckedInput,
    EndedJob,
    HttpCall,
    HttpReply,
    Json,
    Mistake,
    MockCallback,
    Operation,
    OperationConfig,
    Ours,
    OutputKind,
    Provider,
    ProviderAccess,
    ReadBack,
    SentCallback,
    SubmitOutcome,
)
from service.providers.modelslab import calls, inputs, mocks, results, sent, submits
from service.providers.modelslab.examples import EXAMPLES

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
OPERATIONS: Mapping[str, Operation] = MappingProxyType(
    {
        name: Operation(name, f"{calls.ENTERPRISE}/{name}", input_schema=check.schema, example=EXAMPLES[name])
        for name, check in inputs.CHECKS.items()
    }
)


class ModelsLab:
    """The module's one object: `contract.Provider` by delegation."""

    name = "modelslab"
    echoes_callback_url = False

    def __init__(
        self,
        operations: Mapping[str, Operation] = OPERATIONS,
        taken_away: Mapping[str, Operation] = MappingProxyType({}),
    ) -> None:
        self._operations = operations
        self._taken_away = taken_away

    @property
    def operations(self) -> Mapping[str, Operation]:
        """Return every operation by its name."""
        return self._operations

    @property
    def taken_away(self) -> Mapping[str, Operation]:
        """Return the operations that the settings have switched off."""
        return self._taken_away

    def configured(self, operations: Mapping[str, OperationConfig]) -> Provider:
        """Return the provider with the operator's word on its operations; raises ValueError for what can't be."""
        found = configure_operations(self._operations, operations, add=_add_operation)
        return ModelsLab(found.operations, found.taken_away)

    def check_input(self, operation: str, given: Json) -> CheckedInput | list[Mistake]:
        """Check `input` of a job against the documentation; every mistake at once."""
        if operation not in self._operations:
            return [Mistake("operation", f"unknown operation; known are {', '.join(self._operations)}")]
        return inputs.check_input(operation, given)

    def submit_call(self, access: ProviderAccess, operation: str, body: dict[str, Json], ours: Ours) -> HttpCall:
        """Build the submit; raises ValueError for a test job."""
        return calls.submit_call(access, self._operations[operation], body, ours)

    def read_submit(self, operation: str, reply: HttpReply) -> SubmitOutcome:
        """Read the answer to a submit; never raises."""
        return submits.read_submit(operation, self._kinds(operation), reply)

    def look_up_call(
        self, access: ProviderAccess, operation: str, task_id: str, sent_to: str | None = None
    ) -> HttpCall:
        """Build the read-back of one task, beside where it was sent; `sent_to` None: where its operation is now."""
        known = self._find(operation)
        return calls.look_up_call(access, sent_to or (known.path if known else None), task_id)

    def read_look_up(self, operation: str, task_id: str, reply: HttpReply) -> ReadBack:
        """Read the answer to a read-back; never raises."""
        return results.read_look_up(self._kinds(operation), task_id, reply)

    def mock_callback(self, operation: str, body: dict[str, Json], ours: Ours) -> MockCallback:
        """Build the callback that the provider would send for a test job; raises ValueError for any other job."""
        return mocks.mock_callback(self._kinds(operation), body, ours)

    def sent_callback(self, operation: str, job: EndedJob) -> SentCallback:
        """Build what ModelsLab would have posted to the customer about a job that has ended."""
        return sent.sent_callback(job)

    def read_callback(self, body: bytes) -> CallbackHint:
        """Read a callback's body; raises CallbackUnreadable and nothing else."""
        return results.read_callback(body)

    def _find(self, operation: str) -> Operation | None:
        """Return an operation, also one that was switched off; None when the settings do not even name it any more."""
        return self._operations.get(operation) or self._taken_away.get(operation)

    def _kinds(self, operation: str) -> tuple[OutputKind, ...]:
        known = self._find(operation)
        return known.outputs if known is not None and known.outputs else ("image",)


def _add_operation(name: str, path: str, config: OperationConfig) -> Operation:
    """Return an operation that only the settings know; `webhook` is documented for whatever runs asynchronously."""
    if not NAME.fullmatch(name):
        raise ValueError("its name must be letters, digits, dashes, underscores and dots, 64 at most")
    return Operation(
        name,
        path,
        input_schema=inputs.FREE.schema,
        takes_webhook=config.takes_webhook is not False,
        outputs=config.outputs or ("image",),
    )


PROVIDER = ModelsLab()
