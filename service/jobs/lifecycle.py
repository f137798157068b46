"""The life of a job: its states, what can happen to it, and one table that says what follows.

Nothing else compares or assigns a state. `decide` looks a happening up; what is not in the table changes nothing, which is
how a late callback, a second verdict or a worker that woke up too late stay without effect. The diagram in
`docs/lifecycle.md` is generated from this table, and the database repeats in CHECK constraints what must be impossible.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """Where a job is.

    queued: waits for its turn, entered by creation, by a submit that did not run, by `retry`.
    submitting: a submit is in flight, or nobody can tell whether it ran; left by its answer, a verdict or the unknown time.
    running: the provider has the task and we know its id; left by a verdict.
    copying: the provider is done and its outputs are on their way to the bucket; a copy of another job begins here.
    succeeded, failed, canceled: ended; a terminal state never changes within a run.
    """

    QUEUED = "queued"
    SUBMITTING = "submitting"
    RUNNING = "running"
    COPYING = "copying"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"


ENDED = frozenset({Status.SUCCEEDED, Status.FAILED, Status.CANCELED})
OPEN = frozenset(Status) - ENDED
CANCELABLE = OPEN
RETRYABLE = frozenset({Status.FAILED, Status.CANCELED})
UNDER_DEADLINE = frozenset({Status.QUEUED, Status.SUBMITTING, Status.RUNNING})


class SubmitState(StrEnum):
    """What we know about the attempt of a job that is `submitting`."""

    IN_FLIGHT = "in_flight"
    UNCLEAR = "unclear"


class EventType(StrEnum):
    """Every type of event."""

    QUEUED = "job.queued"
    SUBMITTED = "job.submitted"
    PROGRESS = "job.progress"
    CALLBACK = "job.callback"
    COPYING = "job.copying"
    OUTPUT_STORED = "output.stored"
    SUCCEEDED = "job.succeeded"
    FAILED = "job.failed"
    CANCELED = "job.canceled"


TERMINAL_EVENTS = frozenset({EventType.SUCCEEDED, EventType.FAILED, EventType.CANCELED})


class Happening(StrEnum):
    """What can happen to a job."""

    SUBMIT_STARTED = "submit started"
    SUBMIT_NOT_RUN = "submit proven not to have run"
    SUBMIT_UNCLEAR = "answer unclear"
    ACCEPTED = "accepted, task id known"
    PROGRESSED = "still running"
    SUCCEEDED = "judged success with outputs"
    MOCK_SUCCEEDED = "mock success of a test job"
    FAILED = "judged failure, rejection or giving up"
    OUTPUT_STORED = "an output stored"
    ALL_STORED = "the last output stored"
    CANCELED = "cancel"
    DEADLINE_PASSED = "deadline passed"
    RETRY_FROM_START = "retry"
    RETRY_FROM_TASK = "retry, the task may still be there"
    RETRY_FROM_OUTPUTS = "retry, outputs are known"


@dataclass(frozen=True, slots=True)
class Rule:
    """What follows: the next state and the event that tells of it."""

    next: Status
    event: EventType | None = None


_Q, _S, _R, _C = Status.QUEUED, Status.SUBMITTING, Status.RUNNING, Status.COPYING

_FAILED = Rule(Status.FAILED, EventType.FAILED)
_CANCELED = Rule(Status.CANCELED, EventType.CANCELED)
_COPYING = Rule(Status.COPYING, EventType.COPYING)
_SUCCEEDED = Rule(Status.SUCCEEDED, EventType.SUCCEEDED)

TABLE: dict[tuple[Status, Happening], Rule] = {
    (_Q, Happening.SUBMIT_STARTED): Rule(_S),
    (_Q, Happening.FAILED): _FAILED,
    (_Q, Happening.DEADLINE_PASSED): _FAILED,
    (_Q, Happening.CANCELED): _CANCELED,
    (_S, Happening.SUBMIT_NOT_RUN): Rule(_Q),
    (_S, Happening.SUBMIT_UNCLEAR): Rule(_S),
    (_S, Happening.ACCEPTED): Rule(_R, EventType.SUBMITTED),
    # A callback may beat the submit's answer, and some providers answer a submit with the result itself.
    (_S, Happening.SUCCEEDED): _COPYING,
    (_S, Happening.MOCK_SUCCEEDED): _SUCCEEDED,
    (_S, Happening.FAILED): _FAILED,
    (_S, Happening.DEADLINE_PASSED): _FAILED,
    (_S, Happening.CANCELED): _CANCELED,
    (_R, Happening.PROGRESSED): Rule(_R, EventType.PROGRESS),
    (_R, Happening.SUCCEEDED): _COPYING,
    (_R, Happening.MOCK_SUCCEEDED): _SUCCEEDED,
    (_R, Happening.FAILED): _FAILED,
    (_R, Happening.DEADLINE_PASSED): _FAILED,
    (_R, Happening.CANCELED): _CANCELED,
    (_C, Happening.OUTPUT_STORED): Rule(_C, EventType.OUTPUT_STORED),
    (_C, Happening.ALL_STORED): _SUCCEEDED,
    # No deadline here: while outputs are being copied, the expiry of their source decides.
    (_C, Happening.FAILED): _FAILED,
    (_C, Happening.CANCELED): _CANCELED,
    (Status.FAILED, Happening.RETRY_FROM_START): Rule(_Q, EventType.QUEUED),
    (Status.FAILED, Happening.RETRY_FROM_TASK): Rule(_R, EventType.SUBMITTED),
    (Status.FAILED, Happening.RETRY_FROM_OUTPUTS): _COPYING,
    (Status.CANCELED, Happening.RETRY_FROM_START): Rule(_Q, EventType.QUEUED),
    (Status.CANCELED, Happening.RETRY_FROM_TASK): Rule(_R, EventType.SUBMITTED),
    (Status.CANCELED, Happening.RETRY_FROM_OUTPUTS): _COPYING,
}


# How a job begins: taken in, or as a copy of one whose outputs are known.
TAKEN_IN = Rule(_Q, EventType.QUEUED)
COPY_BEGINS = _COPYING


def decide(status: Status, happening: Happening) -> Rule | None:
    """Return what follows when `happening` meets a job in `status`; None: nothing, the job stays as it is."""
    return TABLE.get((status, happening))


def diagram() -> str:
    """Return the table as a Mermaid state diagram, for `docs/lifecycle.md`."""
    lines = ["stateDiagram-v2"]
    for rule, why in ((TAKEN_IN, "taken in"), (COPY_BEGINS, "copy of another job")):
        lines.append(f"    [*] --> {rule.next.value}: {why} / {rule.event}")
    for (status, happening), rule in TABLE.items():
        told = f" / {rule.event.value}" if rule.event else ""
        lines.append(f"    {status.value} --> {rule.next.value}: {happening.value}{told}")
    return "\n".join(lines) + "\n"
