"""How one operation is spoken: what it is, and the functions in which operations differ from one another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from service.providers.contract import CheckedInput, HttpReply, Json, Mistake, Operation, SubmitOutcome
from service.providers.novita import submits


@dataclass(frozen=True, slots=True)
class Dialect:
    """One operation and how it is spoken; whatever is not in here is the same for all of them.

    check_input: of the contract, for this operation alone. count_outputs: how many outputs a checked body asks for.
    read_submit: takes the operation's name (for hints) and the reply; never raises.
    """

    operation: Operation
    check_input: Callable[[Json], CheckedInput | list[Mistake]]
    count_outputs: Callable[[dict[str, Json]], int]
    read_submit: Callable[[str, HttpReply], SubmitOutcome] = submits.read_submit
