"""The steps of a check: each is bounded, tried only when what it needs has worked, and told on its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from service.outputs.errors import DestinationError
from service.outputs.s3_errors import decide_s3_error

SKIPPED = "skipped"
# Without these, outputs are still written: only what was begun can't be tidied up.
_ONLY_TIDYING = frozenset({"abort", "delete"})


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a check. code: S3's own, "skipped" when it could not be tried, None when all is well.

    A step that is well may still have a message and a hint: it works, and somebody should look at it. ours: it failed for
    a reason of the service's own.
    """

    step: str
    ok: bool
    code: str | None = None
    message: str | None = None
    hint: str | None = None
    ours: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return the step as the API shows it."""
        return {"step": self.step, "ok": self.ok, "code": self.code, "message": self.message, "hint": self.hint}


@dataclass(frozen=True, slots=True)
class Note:
    """What there is to say of a step that is well."""

    message: str
    hint: str | None = None


Act = Callable[[], Awaitable[Note | None]]


def first_serious(steps: Sequence[Step]) -> Step | None:
    """Return the first step whose failure means that outputs can't be written, None when they can."""
    failed = [step for step in steps if not step.ok and step.code != SKIPPED]
    return next((step for step in failed if step.step not in _ONLY_TIDYING), None)


@dataclass
class Report:
    """What the steps came to. seconds: for each step. end: of the loop's clock, when no step is tried any more."""

    seconds: float
    end: float
    steps: list[Step] = field(default_factory=list)

    def is_ok(self, name: str) -> bool:
        """Tell whether a step was tried and is well."""
        return any(step.ok for step in self.steps if step.step == name)

    async def run(self, name: str, act: Act, *, needs: str | None = None) -> None:
        """Do a step and note what came of it; skip it where the one that it needs is not well, or the time is up."""
        if needs is not None and not self.is_ok(needs):
            self.skip(name, f"not tried, because `{needs}` did not work")
            return
        left = self.end - asyncio.get_running_loop().time()
        if left <= 0:
            self.skip(name, "not tried, because the time for the check was up")
            return
        try:
            async with asyncio.timeout(min(self.seconds, left)):
                note = await act()
        except (DestinationError, TimeoutError) as error:
            told = decide_s3_error(error)
            code = told.s3_code or told.code.value
            self.steps.append(Step(name, False, code, told.message, told.hint, told.ours))
        else:
            self.steps.append(Step(name, True, None, note.message, note.hint) if note else Step(name, ok=True))

    def skip(self, name: str, why: str) -> None:
        """Note that a step could not be tried."""
        self.steps.append(Step(name, ok=False, code=SKIPPED, message=why))
