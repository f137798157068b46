"""Novita AI: the asynchronous v3 tasks, and Seedream, which answers by itself; facts checked 2026-09.

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
    EndedJob,
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
    SentCallback,
    SubmitOutcome,
)
from service.providers.novita import calls, configuring, mocks, results, sent
from service.providers.novita.dialect import Dialect
from service.providers.novita.seedream import SEEDREAM
from service.providers.novita.tasks import TASKS

DIALECTS: Mapping[str, Dialect] = MappingProxyType({**TASKS, **SEEDREAM})


class Novita:
    """`contract.Provider` by delegation: what differs between operations lies in their dialects."""

    name = "novita"
    echoes_callback_url = True

    def __init__(
        self, dialects: Mapping[str, Dialect] = DIALECTS, taken_away: Mapping[str, Dialect] = MappingProxyType({})
    ) -> None:
        self._dialects = dialects
        self._operations = MappingProxyType({name: dialect.operation for name, dialect in dialects.items()})
        self._gone = taken_away
        self._taken_away = MappingProxyType({name: dialect.operation for name, dialect in taken_away.items()})

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
        return Novita(*configuring.configure(self._dialects, operations))

    def check_input(self, operation: str, given: Json) -> CheckedInput | list[Mistake]:
        """Check `input` of a job against the documentation; every mistake at once."""
        dialect = self._dialects.get(operation)
        if dialect is None:
            return [Mistake("operation", f"unknown operation; known are {', '.join(self._dialects)}")]
        return dialect.check_input(given)

    def submit_call(self, access: ProviderAccess, operation: str, body: dict[str, Json], ours: Ours) -> HttpCall:
        """Build the submit; raises ValueError for a test job that Novita would run and charge for."""
        return calls.submit_call(access, self._operations[operation], body, ours)

    def read_submit(self, operation: str, reply: HttpReply) -> SubmitOutcome:
        """Read the answer to a submit; never raises."""
        return self._dialect(operation).read_submit(operation, reply)

    def look_up_call(
        self, access: ProviderAccess, operation: str, task_id: str, sent_to: str | None = None
    ) -> HttpCall:
        """Build the read-back of one task; there is one place for all, wherever they were sent."""
        return calls.look_up_call(access, task_id)

    def read_look_up(self, operation: str, task_id: str, reply: HttpReply) -> ReadBack:
        """Read the answer to a read-back; never raises."""
        return results.read_look_up(task_id, reply)

    def mock_callback(self, operation: str, body: dict[str, Json], ours: Ours) -> MockCallback:
        """Build the callback that the provider would send for a test job; raises ValueError for any other job."""
        return mocks.mock_callback(self._dialect(operation), body, ours)

    def sent_callback(self, operation: str, job: EndedJob) -> SentCallback:
        """Build what Novita would have posted to the customer about a job that has ended."""
        return sent.sent_callback(operation, job)

    def read_callback(self, body: bytes) -> CallbackHint:
        """Read a callback's body; raises CallbackUnreadable and nothing else."""
        return results.read_callback(body)

    def _dialect(self, operation: str) -> Dialect:
        """Return how an operation is spoken, also when the settings have taken it away since its job began."""
        known = self._dialects.get(operation) or self._gone.get(operation)
        return known or configuring.describe_unknown(operation)


PROVIDER = Novita()
