"""What can be said about a callback before anybody is asked: pure, and never more than a hint.

Nothing in a callback's body is authenticated. Reading it only decides whether it is worth a read-back, and which
verdict it gets when it is not.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from service.jobs.lifecycle import Status, SubmitState
from service.jobs.model import Job
from service.providers.contract import (
    CallbackHint,
    CallbackUnreadable,
    Failed,
    LookUpOutcome,
    Provider,
    StillRunning,
    Succeeded,
)


class Verdict(StrEnum):
    """What became of a callback.

    confirmed: the read-back says the same. contradicted: it says something else, and the read-back counts.
    mock: believed because of its token, for a test job. late: the run had ended. duplicate: the run was judged already.
    superseded: it belongs to an earlier attempt. malformed, unknown_event, foreign: unreadable, of a kind we don't know,
    about another task. unproven: it names a task for a submit whose outcome is unclear, and nothing ties that task to us.
    abandoned: judging it raised again and again; a dead letter tells of it. unknown_job: its job is deleted, or never was.
    """

    CONFIRMED = "confirmed"
    CONTRADICTED = "contradicted"
    MOCK = "mock"
    LATE = "late"
    DUPLICATE = "duplicate"
    SUPERSEDED = "superseded"
    MALFORMED = "malformed"
    UNKNOWN_EVENT = "unknown_event"
    FOREIGN = "foreign"
    UNPROVEN = "unproven"
    ABANDONED = "abandoned"
    UNKNOWN_JOB = "unknown_job"


@dataclass(frozen=True, slots=True)
class AskAbout:
    """Worth a read-back of this task. adopt: it is only a candidate, the job does not know its task yet."""

    task_id: str
    hint: CallbackHint | None  # None: the clock asks, not a callback
    adopt: bool = False


@dataclass(frozen=True, slots=True)
class Believe:
    """A test job's mock: its token is its proof."""

    hint: CallbackHint


class Park:
    """Too early: the submit's answer is not in yet."""


Reading = Verdict | AskAbout | Believe | Park


def read(provider: Provider, job: Job, attempt: int, body: bytes) -> Reading:
    """Read one callback of a job; `attempt` is the token's."""
    if job.ended:
        return Verdict.LATE
    if job.status is Status.COPYING:
        return Verdict.DUPLICATE
    if attempt != job.attempt or job.status is Status.QUEUED:
        return Verdict.SUPERSEDED
    if job.status is Status.SUBMITTING and job.submit_state is SubmitState.IN_FLIGHT:
        return Park()
    try:
        hint = provider.read_callback(body)
    except CallbackUnreadable:
        return Verdict.MALFORMED
    if not hint.known_event:
        return Verdict.UNKNOWN_EVENT
    if job.test:
        return Believe(hint) if isinstance(hint.state, Succeeded | Failed) else Verdict.MALFORMED
    return _ask(job, hint)


def _ask(job: Job, hint: CallbackHint) -> Reading:
    if hint.task_id is None:
        return Verdict.MALFORMED
    if job.provider_task_id is None:
        return AskAbout(hint.task_id, hint, adopt=True)
    if hint.task_id != job.provider_task_id:
        return Verdict.FOREIGN
    return AskAbout(hint.task_id, hint)


def compare(hint: CallbackHint | None, found: LookUpOutcome) -> Verdict:
    """Say whether a callback and the read-back agree."""
    for kind in (Succeeded, Failed, StillRunning):
        if hint is not None and isinstance(hint.state, kind) and isinstance(found, kind):
            return Verdict.CONFIRMED
    return Verdict.CONTRADICTED
