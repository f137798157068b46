"""The operator's word on Novita's operations: switched off, moved, or added (`GENRELAY_PROVIDERS__NOVITA__OPERATIONS__…`).

Novita retires endpoints, and adds others faster than anybody turns their pages into shapes:
https://novita.ai/docs/changelog
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from service.providers.configured import configure_operations
from service.providers.contract import Operation, OperationConfig
from service.providers.novita.dialect import Dialect
from service.providers.novita.errors import write_variable
from service.providers.novita.tasks.added import describe_added

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
# Where Novita answers with a task, as its one documented beta endpoint (flux-1-schnell) does; those elsewhere below /v3
# answer with the result itself. https://novita.ai/docs/api-reference/model-apis-introduction (checked 2026-09)
TASK_PATH = re.compile(r"/v3(?:/async|beta)/[A-Za-z0-9].*")


def configure(
    known: Mapping[str, Dialect], said: Mapping[str, OperationConfig]
) -> tuple[Mapping[str, Dialect], Mapping[str, Dialect]]:
    """Return the dialects as the operator wants them, and those switched off; raises ValueError for what can't be."""
    found = configure_operations({name: each.operation for name, each in known.items()}, said, add=_add)
    return _describe(known, found.operations), _describe(known, found.taken_away)


def describe_unknown(name: str) -> Dialect:
    """Return how an operation is spoken that nobody knows any more: like one that the settings added."""
    return describe_added(Operation(name, "/", {}, takes_webhook=False))


def _describe(known: Mapping[str, Dialect], operations: Mapping[str, Operation]) -> Mapping[str, Dialect]:
    return MappingProxyType(
        {
            name: _change(known[name], operation) if name in known else describe_added(operation)
            for name, operation in operations.items()
        }
    )


def _add(name: str, path: str, config: OperationConfig) -> Operation:
    if not NAME.fullmatch(name):
        raise ValueError("its name must be letters, digits, dashes, dots and underscores, 64 at most")
    # One that is switched off is sent nothing, and may stay in the settings.
    if config.enabled and not TASK_PATH.fullmatch(path):
        variable = f"GENRELAY_PROVIDERS__NOVITA__OPERATIONS__{write_variable(name)}__PATH"
        rule = "must be /v3/async/… or /v3beta/…, for only there does Novita answer with a task"
        raise ValueError(f"{variable} {rule}; got {path}")
    return Operation(
        name,
        path,
        {},
        # Most pages beyond the documented tasks have no `extra` at all: then the job is polled.
        takes_webhook=config.takes_webhook or False,
        outputs=config.outputs or ("image",),
        # The documented hosts are those of the documented tasks.
        outputs_anywhere=True,
    )


def _change(dialect: Dialect, said: Operation) -> Dialect:
    """Test mode is a setting of the webhook, and documented for the operation's own endpoint only.

    Elsewhere it might be ignored, and a test job be charged for: there we send the mock ourselves.
    """
    known = dialect.operation
    obeyed = known.native_test_mode and said.takes_webhook and said.path == known.path
    return replace(dialect, operation=replace(said, native_test_mode=obeyed))
