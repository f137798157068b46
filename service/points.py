"""Named points before and after each commit and each call to the outside, where a test can kill the process.

`GENRELAY_CRASH_AT=submit.sent` makes the process kill itself (SIGKILL, no clean-up) when it gets there for the first
time, `submit.sent:3` at the third. Without the variable a point costs one comparison.
"""

from __future__ import annotations

import os
import signal

POINTS = (
    "intake.before_commit",
    "intake.committed",
    "submit.intent_before_commit",
    "submit.intent_committed",
    "submit.sent",
    "submit.outcome_before_commit",
    "submit.outcome_committed",
    "inbox.before_commit",
    "inbox.committed",
    "judge.begun",
    "judge.read_back",
    "judge.before_commit",
    "judge.committed",
    "copy.begun",
    "copy.downloaded",
    "copy.fixed_before_commit",
    "copy.fixed",
    "copy.put",
    "copy.stored_before_commit",
    "copy.stored",
)

_armed: dict[str, int] = {}


def arm(spec: str | None) -> None:
    """Arm the point named by `spec` (`name` or `name:count`); raises ValueError for an unknown name."""
    _armed.clear()
    if spec:
        name, _, count = spec.partition(":")
        if name not in POINTS:
            raise ValueError(f"no such point: {name}")
        _armed[name] = int(count or 1)


def reach(name: str) -> None:
    """Pass a point, or end here."""
    if _armed and name in _armed:
        _armed[name] -= 1
        if _armed[name] <= 0:
            os.kill(os.getpid(), signal.SIGKILL)
