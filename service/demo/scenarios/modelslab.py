"""What ModelsLab gets on top: its many shapes of an answer."""

from __future__ import annotations

from typing import Any

from service.demo.scenarios.body import job
from service.demo.scenarios.scenario import Scenario, Verdicts, no_callback


def list_modelslab() -> list[Scenario]:
    """Return the scenarios."""
    return [
        Scenario(
            "brook",
            "answered at once",
            _job("a brook [fault:instant]"),
            verified_by="sync",
            callbacks=_heard_or_late,
        ),
        Scenario("cottage", 'base64: "yes"', _job("a cottage", base64="yes")),
        Scenario("quarry", "two pictures", _job("a quarry", samples="2"), outputs=2),
        Scenario(
            "mill",
            "fails at the provider",
            _job("a mill [fault:failed]"),
            status="failed",
            outputs=0,
            error="provider_failed",
        ),
        Scenario(
            "vineyard",
            "rejected, with HTTP 200",
            _job("a vineyard [fault:error_200]"),
            status="failed",
            verified_by="sync",
            outputs=0,
            error="provider_rejected",
            paid=0,
            callbacks=no_callback,
        ),
    ]


def _job(prompt: str, **fields: Any) -> dict[str, Any]:
    return job("modelslab", "text2img", prompt, **fields)


def _heard_or_late(found: Verdicts) -> bool:
    # The callback races with an answer that has said it all.
    return found.total() == 1 and found.keys() <= {"confirmed", "late", "duplicate"}
