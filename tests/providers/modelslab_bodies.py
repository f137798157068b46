"""Bodies that ModelsLab accepts."""

from __future__ import annotations

import copy
import json
from typing import Any

from service.providers.contract import CheckedInput, HttpReply, Mistake, SubmitOutcome
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


def read_answer(status: int, body: Any, operation: str = "inpaint", **headers: str) -> SubmitOutcome:
    """Return what an answer to a submit reads as; `body` is JSON, or bytes as they are."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    reply = HttpReply(status, {name.replace("_", "-"): value for name, value in headers.items()}, raw)
    return PROVIDER.read_submit(operation, reply)
