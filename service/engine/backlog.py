"""The backlog as metrics: how much is due and not begun, by task, and for how long the oldest of it has waited."""

from __future__ import annotations

from typing import Any

from service import metrics
from service.db.pool import Pool
from service.db.sql import queries
from service.events.placing import age_of

COUNTED = 10_000  # of each kind at most: more says no more, and costs more
BACKLOG_PAUSE = 15.0  # seconds between two counts of one process
TASKS = ("submit", "look_up", "settle", "copy", "deliver")


async def count_backlog(pool: Pool) -> None:
    """Count what waits, and show it; one statement."""
    show_backlog(await queries().count_queue(pool, most=COUNTED))


def show_backlog(found: Any) -> None:
    """Show what was counted. found: a row of `count_queue`."""
    for task in TASKS:
        metrics.QUEUE_DEPTH.labels(task).set(found[task])
        metrics.QUEUE_AGE.labels(task).set(max(0.0, found[f"{task}_age"]))
    metrics.QUEUE_DEPTH.labels("place").set(found["place"])
    metrics.QUEUE_AGE.labels("place").set(age_of(found["unplaced"]))
    metrics.DEAD_LETTERS_WAITING.set(found["dead"])
