"""The operator's word on operations: switched off, moved elsewhere, or added (`…__OPERATIONS__<NAME>__…`).

A name from an environment variable has no dots, hyphens or capitals left, so names are compared without them:
`SEEDREAM_4_0` is `seedream-4.0`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from config.shapes import comparable_name
from service.providers.contract import Operation, OperationConfig

AddOperation = Callable[[str, str, OperationConfig], Operation]
PATH = re.compile(r"/[!-\"$->@-~]*")  # visible ASCII without # and ?


@dataclass(frozen=True, slots=True)
class Configured:
    """The operations as the operator wants them, and those switched off: jobs of theirs may still run where they went."""

    operations: Mapping[str, Operation]
    taken_away: Mapping[str, Operation]


def configure_operations(
    known: Mapping[str, Operation], said: Mapping[str, OperationConfig], *, add: AddOperation
) -> Configured:
    """Return the operations with the operator's word on them.

    add: makes an operation that is not known out of its name, its path and what was said about it.
    Raises ValueError for what can't be; its message tells every mistake.
    """
    names = {comparable_name(name): name for name in known}
    operations, mistakes = dict(known), _find_twins(said)
    gone: dict[str, Operation] = {}
    for name, config in said.items():
        try:
            shown = names.get(comparable_name(name)) or _spell(name, config.path)
            operation = _configure(known.get(shown), shown, config, names=known, add=add)
        except ValueError as error:
            mistakes.append(f"{name}: {error}")
            continue
        operations.pop(shown, None)
        (operations if config.enabled else gone)[shown] = operation
    if mistakes:
        raise ValueError("; ".join(mistakes))
    in_order = {name: operations[name] for name in (*known, *operations) if name in operations}
    return Configured(MappingProxyType(in_order), MappingProxyType(gone))


def _configure(
    known: Operation | None, name: str, config: OperationConfig, *, names: Mapping[str, Operation], add: AddOperation
) -> Operation:
    if config.path is not None and not PATH.fullmatch(config.path):
        raise ValueError("its path must begin with / and carry no query")
    if known is None and config.path is None:
        raise ValueError(f"no operation of this provider (known are {', '.join(names)}), and no path to add it by")
    if config.outputs == ():
        raise ValueError("its outputs must be one kind at least")
    if known is None:
        return add(name, config.path or "", config)
    if known.answers == "result" and config.takes_webhook:
        raise ValueError("its own answer is the result, so it takes no webhook")
    return replace(
        known,
        path=known.path if config.path is None else config.path,
        takes_webhook=known.takes_webhook if config.takes_webhook is None else config.takes_webhook,
        outputs=known.outputs if config.outputs is None else config.outputs,
    )


def _spell(name: str, path: str | None) -> str:
    """Return the name of an added operation: as its path spells it, when that is the same name."""
    last = (path or "").rpartition("/")[2].lower()
    return last if comparable_name(last) == comparable_name(name) else name.lower().replace("_", "-")


def _find_twins(said: Mapping[str, OperationConfig]) -> list[str]:
    seen: dict[str, str] = {}
    return [
        f"{name}: the same operation as {first}"
        for name in said
        if (first := seen.setdefault(comparable_name(name), name)) != name
    ]
