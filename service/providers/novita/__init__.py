"""Novita AI: the asynchronous v3 image API (`txt2img`, `img2img`), facts checked 2026-09.

https://novita.ai/docs/api-reference/model-apis-introduction

What is odd about it: no callback is signed, five tries and no more; output URLs live an hour; no submit is idempotent;
test mode is a setting of the webhook; and endpoints get retired (https://novita.ai/docs/changelog).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from service.providers.contract import (
    CallbackHint,
    CheckedInput,
    HttpCall,
    HttpReply,
    Json,
    Mistake,
    MockCallback,
    Operation,
    OperationConfig,
    Ours,
    Provider,
    ProviderAccess,
    ReadBack,
    SubmitOutcome,
)
from service.providers.novita import calls, inputs, results, submits

OPERATIONS: Mapping[str, Operation] = MappingProxyType(
    {
        name: Operation(name, f"/v3/async/{name}", input_schema=check.schema, native_test_mode=True)
        for name, check in inputs.CHECKS.items()
    }
)


class Novita:
    """The module's one object: `contract.Provider` by delegation."""

    name = "novita"
    echoes_callback_url = True
    operations = OPERATIONS

    def configured(self, operations: Mapping[str, OperationConfig]) -> Provider:
        """Return the provider with the operator's word on its operations; raises ValueError for what can't be."""
        if operations:
            raise ValueError("not yet")
        return self

    def mock_callback(self, operation: str, body: dict[str, Json], ours: Ours) -> MockCallback:
        """Build the callback that the provider would send for a test job."""
        raise NotImplementedError

    def check_input(self, operation: str, given: Json) -> CheckedInput | list[Mistake]:
        """Check `input` of a job against the documentation; every mistake at once."""
        return inputs.check_input(operation, given)

    def submit_call(self, access: ProviderAccess, operation: str, body: dict[str, Json], ours: Ours) -> HttpCall:
        """Build the submit; raises ValueError for a test job without callback URL."""
        return calls.submit_call(access, self.operations[operation].path, body, ours)

    def read_submit(self, operation: str, reply: HttpReply) -> SubmitOutcome:
        """Read the answer to a submit; never raises."""
        return submits.read_submit(reply)

    def look_up_call(self, access: ProviderAccess, operation: str, task_id: str) -> HttpCall:
        """Build the read-back of one task."""
        return calls.look_up_call(access, task_id)

    def read_look_up(self, operation: str, task_id: str, reply: HttpReply) -> ReadBack:
        """Read the answer to a read-back; never raises."""
        return results.read_look_up(task_id, reply)

    def read_callback(self, body: bytes) -> CallbackHint:
        """Read a callback's body; raises CallbackUnreadable and nothing else."""
        return results.read_callback(body)


PROVIDER = Novita()
