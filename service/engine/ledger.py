"""Changing a job: state, events and follow-up work in one transaction, or not at all.

Every change goes through `record`: it asks the life cycle's table, writes the new row and its events in one statement that
is fenced by the version, and enqueues the next task through the same connection.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from pgqueuer import Queries

from service import metrics
from service.db.pool import Connection
from service.db.sql import queries
from service.engine.nearby import after_commit, hint, wrote_events
from service.ids import new_uuid
from service.jobs.lifecycle import ENDED, EventType, Happening, Status, decide
from service.jobs.model import Job, Output, first_loss, job_json, read_job, read_output

SUBMIT, LOOK_UP, SETTLE, COPY = "submit", "look_up", "settle", "copy"
TASK_OF = {Status.QUEUED: SUBMIT, Status.SUBMITTING: SUBMIT, Status.RUNNING: LOOK_UP, Status.COPYING: COPY}

# Due sooner than this: a deferred task is enqueued at once. Later: the sweep finds it. (Most polls are never needed,
# because the callback comes first, so they are not worth a row in the queue.)
_SOON = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Locked:
    """A job under its row lock, with the database's time."""

    job: Job
    now: datetime


@dataclass(frozen=True, slots=True)
class Told:
    """An event to write along with a transition; `data` is merged beside `sequence` and `job`."""

    type: EventType
    data: dict[str, Any]


async def lock(connection: Connection, job_id: UUID) -> Locked | None:
    """Lock a job for a transition; None when there is no such job."""
    row = await queries().lock_job(connection, id=job_id)
    return None if row is None else Locked(read_job(row), row["clock"])


async def outputs_of(connection: Connection, job_id: UUID) -> list[Output]:
    """Return a job's outputs in order."""
    return [read_output(row) async for row in queries().list_outputs(connection, job_id=job_id)]


async def record(
    connection: Connection,
    locked: Locked,
    happening: Happening,
    *,
    outputs: list[Output] | None = None,
    also: tuple[Told, ...] = (),
    told_of: dict[str, Any] | None = None,
    **changes: Any,
) -> Locked | None:
    """Apply what happened to a locked job; returns it as it is now, None when the table says that nothing follows.

    outputs: the job's outputs after the change, if the caller has them. also: events to write before the transition's
    own. told_of: what that one says besides the job. changes: further columns; `due_at` is required unless the next
    state is an end.
    """
    rule = decide(locked.job.status, happening)
    if rule is None:
        return None
    before, now = locked.job, locked.now
    fresh = _derived(before, rule.next, now)
    after = replace(before, **{**fresh, **changes}, status=rule.next)
    told = [*also, Told(rule.event, told_of or {})] if rule.event else [*also]
    if outputs is None:
        # Only events show them.
        outputs = await outputs_of(connection, before.id) if told else None
    if outputs is not None:
        after = replace(after, source_expires_at=first_loss(outputs))
    after = await _save(connection, before, after, told, outputs or [], now)
    await _follow_up(connection, after, now)
    if after.ended:
        after_commit(partial(_count_end, after))
    return Locked(after, now)


def _count_end(job: Job) -> None:
    metrics.JOBS_ENDED.labels(job.provider, job.operation, job.status.value, str(job.test).lower()).inc()
    if not job.test and job.completed_at is not None:
        seconds = max(0.0, (job.completed_at - job.created_at).total_seconds())
        metrics.JOB_SECONDS.labels(job.provider, job.operation, job.status.value).observe(seconds)


async def tell(connection: Connection, locked: Locked, told: tuple[Told, ...]) -> Locked:
    """Write events without a transition."""
    if not told:
        return locked
    outputs = await outputs_of(connection, locked.job.id)
    after = await _save(connection, locked.job, locked.job, list(told), outputs, locked.now)
    return Locked(after, locked.now)


async def begin_copying(connection: Connection, locked: Locked) -> Locked:
    """Tell of a job that begins with its outputs, and send its first task."""
    job = replace(locked.job, source_expires_at=first_loss(await outputs_of(connection, locked.job.id)))
    after = await tell(connection, replace(locked, job=job), (Told(EventType.COPYING, {}),))
    await _follow_up(connection, after.job, after.now)
    return after


async def postpone(connection: Connection, locked: Locked, due_at: datetime, **changes: Any) -> Locked:
    """Leave the state as it is and look again at `due_at`; the task that says so has ended well."""
    job, soon = locked.job, due_at - locked.now <= _SOON
    after = replace(job, due_at=due_at, starts=0, version=job.version + 1, **changes)
    await queries().reschedule(
        connection,
        id=job.id,
        version=job.version,
        due_at=due_at,
        tries=after.tries,
        starts=0,
        rereads=after.rereads,
        provider_status=after.provider_status,
        source_expires_at=after.source_expires_at,
        nudged=soon,
    )
    await _follow_up(connection, after, locked.now)
    return Locked(after, locked.now)


def _derived(before: Job, following: Status, now: datetime) -> dict[str, Any]:
    if following in ENDED:
        return {"completed_at": now, "due_at": None, "submit_state": None, "tries": 0, "starts": 0, "nudged_at": None}
    if following is before.status:
        return {}
    # `running` is entered with a first poll that is far off, everything else is taken up at once.
    return {"submit_state": None, "tries": 0, "starts": 0, "rereads": 0, "error": None, "completed_at": None}


async def _save(
    connection: Connection, before: Job, after: Job, told: list[Told], outputs: list[Output], now: datetime
) -> Job:
    task_is_sent = after.due_at is not None and after.due_at - now <= _SOON
    after = replace(
        after,
        version=before.version + 1,
        last_event=before.last_event + len(told),
        nudged_at=now if task_is_sent else None,
    )
    # All events but the transition's own, which is the last, show the job as it was before.
    shown = [job_json(before, outputs)] * (len(told) - 1) + [job_json(after, outputs)]
    data = [
        {"sequence": before.last_event + number, "job": job, **event.data}
        for number, (event, job) in enumerate(zip(told, shown, strict=False), 1)
    ]
    saved = await queries().save_transition(
        connection,
        **{name: getattr(after, name) for name in _SAVED},
        id=before.id,
        version=before.version,
        status=after.status.value,
        submit_state=after.submit_state.value if after.submit_state else None,
        event_ids=[new_uuid() for _ in told],
        event_types=[event.type.value for event in told],
        event_data=data,
        time=now,
    )
    if saved is None:
        raise RuntimeError("a locked job changed its version")
    if told:
        wrote_events()
    return after


_SAVED = [
    "run",
    "attempt",
    "provider_task_id",
    "provider_status",
    "progress",
    "verified_by",
    "error",
    "tries",
    "starts",
    "rereads",
    "read_back_at",
    "last_event",
    "submitted_at",
    "completed_at",
    "deadline_at",
    "due_at",
    "nudged_at",
    "source_expires_at",
]


async def _follow_up(connection: Connection, job: Job, now: datetime) -> None:
    if job.due_at is not None and job.due_at - now <= _SOON:
        urgency = decide_urgency(job.status, job.urgent_at)
        await enqueue(connection, TASK_OF[job.status], job.id, delay=job.due_at - now, urgency=urgency)


def decide_urgency(status: Status, urgent_at: datetime) -> int:
    """Return a task's place in the queue, higher first: copies go in the order in which their sources expire.

    All others are equal, and wait in queues of their own. In seconds, for the 68 years on either side of `_MIDDLE`.
    """
    if status is not Status.COPYING:
        return 0
    return max(-_MOST_URGENT, min(_MOST_URGENT, int((_MIDDLE - urgent_at).total_seconds())))


_MIDDLE, _MOST_URGENT = datetime(2030, 1, 1, tzinfo=UTC), 2**31 - 1


async def enqueue(
    connection: Connection, task: str, job_id: UUID, *, delay: timedelta = timedelta(0), urgency: int = 0
) -> None:
    """Hint at a task: this process takes it up after the commit if it can, otherwise it is enqueued with the transaction."""
    if delay <= timedelta(0) and hint(task, job_id):
        return
    # A few milliseconds more, so that the task never finds a job that is not due yet.
    later = delay + timedelta(milliseconds=5) if delay > timedelta(0) else None
    await Queries.from_asyncpg_connection(connection).enqueue(  # type: ignore[arg-type]
        task, job_id.bytes, urgency, execute_after=later
    )


async def enqueue_all(task: str, connection: Connection, job_ids: Sequence[UUID]) -> None:
    """Hint at the same task for several jobs."""
    left = [job_id for job_id in job_ids if not hint(task, job_id)]
    if left:
        queue = Queries.from_asyncpg_connection(connection)  # type: ignore[arg-type]
        await queue.enqueue([task] * len(left), [job_id.bytes for job_id in left], [0] * len(left))
