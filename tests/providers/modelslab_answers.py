"""ModelsLab's answers about a task, read in one line."""

from __future__ import annotations

import json
from typing import Any

from service.providers.contract import CallbackHint, HttpReply, LookUpOutcome, ReadBack
from service.providers.modelslab import PROVIDER

TASK = "134701497"
URL = "https://pub-3626123a908346a7a8be8d9295f44e26.r2.dev/generations/a-0.png"
FETCH = f"https://modelslab.com/api/v6/images/fetch/{TASK}"


def look_up(body: Any, status: int = 200, task_id: str = TASK, **headers: str) -> ReadBack:
    """Return what an answer of `fetch` says about a task."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    reply = HttpReply(status, {name.replace("_", "-"): value for name, value in headers.items()}, raw)
    return PROVIDER.read_look_up("inpaint", task_id, reply)


def outcome(body: Any, status: int = 200) -> LookUpOutcome:
    """Return what became of the task, by an answer of `fetch`."""
    return look_up(body, status).outcome


def call_back(body: Any) -> CallbackHint:
    """Return what a callback claims."""
    return PROVIDER.read_callback(body if isinstance(body, bytes) else json.dumps(body).encode())
