"""Named points before and after each commit and each call to the outside, where a test can kill the process.

`GENRELAY_CRASH_AT=submit.sent` makes the process kill itself (SIGKILL, no clean-up) when it gets there for the first
time, `submit.sent:3` at the third. `GENRELAY_STOP_AT` is written the same way and makes it stop there (SIGSTOP) until
somebody wakes it (SIGCONT). Without the variables a point costs one comparison.
"""

from __future__ import annotations

import os
import signal

POINTS = (
    "intake.before_commit",
    "intake.committed",
    "line.joined",
    "line.granted_before_commit",
    "line.granted",
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
    "copy.upload_begun",
    "copy.upload_created",
    "copy.upload_named",
    "copy.part_sent",
    "copy.downloaded",
    "copy.fixed_before_commit",
    "copy.fixed",
    "copy.put",
    "copy.stored_before_commit",
    "copy.stored",
    "copy.manifest_begun",
    "copy.manifest_put",
    "events.placing",
    "events.placed",
    "delivery.claimed",
    "delivery.sent",
)

_armed: dict[str, tuple[int, signal.Signals]] = {}


def arm(crash_at: str | None, stop_at: str | None = None) -> None:
    """Arm the points named (`name` or `name:count`) for a kill and for a stop; raises ValueError for an unknown name."""
    _armed.clear()
    for spec, number in ((crash_at, signal.SIGKILL), (stop_at, signal.SIGSTOP)):
        if spec:
            name, _, count = spec.partition(":")
            if name not in POINTS:
                raise ValueError(f"no such point: {name}")
            _armed[name] = int(count or 1), number


def reach(name: str) -> None:
    """Pass a point, or end or stop here; who was woken after a stop is not stopped again."""
    if _armed and name in _armed:
        count, number = _armed.pop(name)
        if count > 1:
            _armed[name] = count - 1, number
        else:
            os.kill(os.getpid(), number)
