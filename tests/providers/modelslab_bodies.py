"""Bodies that ModelsLab accepts."""

from __future__ import annotations

import copy
from typing import Any

from service.providers.contract import CheckedInput, Mistake
from service.providers.modelslab import PROVIDER
from service.providers.modelslab.examples import EXAMPLES

ALL = ("text2img", "img2img", "inpaint")
PICTURED = ("img2img", "inpaint")
LINK = "https://consumer.example/pictures/lighthouse.png?token=secret"


def make_input(operation: str = "text2img", /, **fields: Any) -> dict[str, Any]:
    """Return a valid `input`; `fields` override its own."""
    return {**copy.deepcopy(EXAMPLES[operation]), **fields}


def check(operation: str, body: Any) -> list[Mistake]:
    """Return the mistakes of a body, none for a good one."""
    checked = PROVIDER.check_input(operation, body)
    return checked if isinstance(checked, list) else []


def accept(operation: str, body: Any) -> CheckedInput:
    """Return the checked body of a good one."""
    checked = PROVIDER.check_input(operation, body)
    assert isinstance(checked, CheckedInput), checked
    return checked
