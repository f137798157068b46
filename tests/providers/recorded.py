"""Recorded samples: what each provider's documentation, SDKs and clients show of its answers.

One JSON file per sample in `samples/<provider>/`: `source` says where it was seen, `reads` which reader it is for
(`input`, `submit`, `look_up`, `callback`), `expect` what must come out: a type's name and some of its fields.
Of a callback that can't be read it is what is raised: `{"type": "CallbackUnreadable"}`.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

from service.providers.contract import CallbackUnreadable, HttpReply, Provider

SAMPLES = Path(__file__).parent / "samples"


@dataclass(frozen=True)
class Sample:
    provider: str
    name: str
    said: dict[str, Any]

    @property
    def reads(self) -> str:
        return str(self.said["reads"])

    @property
    def expected_type(self) -> str:
        expect = self.said["expect"]
        if self.reads == "callback" and "type" not in expect:
            expect = expect.get("state") or {}
        return str(expect.get("type"))

    @property
    def body(self) -> bytes:
        return self.said["body_text"].encode() if "body_text" in self.said else json.dumps(self.said["body"]).encode()

    @property
    def reply(self) -> HttpReply:
        return HttpReply(self.said["status"], self.said["headers"], self.body)

    def read(self, provider: Provider) -> Any:
        match self.reads:
            case "input":
                return provider.check_input(self.said["operation"], self.said["body"])
            case "submit":
                return provider.read_submit(self.said["operation"], self.reply)
            case "look_up":
                return provider.read_look_up(self.said.get("operation", ""), self.said["task_id"], self.reply).outcome
            case "callback":
                try:
                    return provider.read_callback(self.body)
                except CallbackUnreadable as unreadable:
                    return unreadable
        raise AssertionError(f"no reader called {self.reads}")

    def __str__(self) -> str:
        return f"{self.provider}-{self.name}"


def load_samples(provider: str) -> list[Sample]:
    """Return every sample of a provider, none for one that has no folder."""
    files = sorted((SAMPLES / provider).glob("*.json"))
    return [Sample(provider, file.stem, json.loads(file.read_text())) for file in files]


def fits(value: Any, expected: Any) -> bool:
    """Tell whether a value is what a sample expects: of dataclasses the type and the fields named, else equality.

    Bytes are written as base64.
    """
    if isinstance(value, CallbackUnreadable):
        return bool(expected == {"type": type(value).__name__})
    if is_dataclass(value) and isinstance(expected, dict):
        wanted = {name: part for name, part in expected.items() if name != "type"}
        assert set(wanted) <= {field.name for field in fields(value)}, f"{type(value).__name__} lacks one of {wanted}"
        return expected.get("type", type(value).__name__) == type(value).__name__ and all(
            fits(getattr(value, name), part) for name, part in wanted.items()
        )
    if isinstance(value, bytes):
        return expected is not None and value == base64.b64decode(expected)
    if isinstance(value, tuple) and isinstance(expected, list):
        return len(value) == len(expected) and all(map(fits, value, expected))
    return bool(value == expected)
