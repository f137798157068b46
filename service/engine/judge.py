"""The tasks `settle` and `look_up`: what is the truth about a job, and what do its callbacks amount to?

Both do the same: one read-back from the provider, with our own key, judges the job and everything in its inbox.
`settle` is woken by a callback, `look_up` by the clock.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import asyncpg
import structlog

from service import metrics, tracing
from service.callbacks import tokens, verdict
from service.callbacks.verdict import AskAbout, Believe, Park, Verdict
from service.db.pool import Connection
from service.db.sql import queries
from service.engine import errors
from service.engine.context import Context
from service.engine.gate import Visit
from service.engine.ledger import LOOK_UP, SETTLE, Locked, Told, enqueue, lock, postpone, record, tell
from service.engine.read_back import read_back
from service.engine.starting import begin, bury
from service.engine.verdicts import READ_BACK_PAUSE, apply_found, apply_mock, callback_told, fail, first_poll
from service.ids import show
from service.jobs.lifecycle import Happening, Status
from service.jobs.model import Job, read_job
from service.points import reach
from service.providers.contract import Failed, LookUpUnavailable, ReadBack, StillRunning, Succeeded, TaskNotFound

log = structlog.get_logger()

_MOCK_PAUSE = 1.0  # seconds; keeps two hints at the same mock from counting as two starts

_NO_ROOM_PAUSE = 1.0  # seconds until a poll that found no room tries again
_BOOKS_LATE = timedelta(seconds=30)


@dataclass(slots=True)
class Inbox:
    """A job's unjudged callbacks, each with what could be read out of it."""

    verdicts: dict[UUID, Verdict] = field(default_factory=dict)
    asks: dict[UUID, AskAbout] = field(default_factory=dict)
    mock: tuple[UUID, Succeeded | Failed] | None = None
    rows: dict[UUID, Any] = field(default_factory=dict)
    parked: bool = False

    def sort(self, context: Context, job: Job, rows: list[Any]) -> None:
        """Read every callback once."""
        seen: set[bytes] = set()
        for row in rows:
            reading = verdict.read(context.provider(job.provider), job, row["attempt"], row["body"])
            self.rows[row["id"]] = row
            if row["digest"] in seen and isinstance(reading, AskAbout | Believe):
                reading = Verdict.DUPLICATE
            seen.add(row["digest"])
            self._place(row["id"], reading)

    def _place(self, callback_id: UUID, reading: verdict.Reading) -> None:
        match reading:
            case Verdict():
                self.verdicts[callback_id] = reading
            case AskAbout():
                self.asks[callback_id] = reading
            case Believe(hint) if self.mock is None and isinstance(hint.state, Succeeded | Failed):
                self.mock = callback_id, hint.state
                self.verdicts[callback_id] = Verdict.MOCK
            case Believe():
                self.verdicts[callback_id] = Verdict.DUPLICATE
            case Park():
                self.parked = True

    def postpone_the_rest(self) -> None:
        """Keep only what has its verdict already."""
        self.asks.clear()
        if self.mock is not None:
            del self.verdicts[self.mock[0]]
            self.mock = None


async def settle(context: Context, job_id: UUID) -> None:
    """Judge what is in a job's inbox."""
    rows = [row async for row in queries().unjudged_callbacks(context.pool, job_id=job_id)]
    if not rows:
        return
    peeked = await queries().peek_job(context.pool, id=job_id)
    if peeked is None or peeked["completed_at"] is not None:
        await _close(context, job_id, rows, None if peeked is None else read_job(peeked))
        return
    job = read_job(peeked)
    tracing.name_trace(job)
    inbox = Inbox()
    inbox.sort(context, job, rows)
    if inbox.parked:
        await _wait_for_answer(context, job)
    ask = next(iter(inbox.asks.values()), None)
    if ask is None and inbox.mock is None:
        await _judge_rest(context, job, inbox)
        return
    gate = context.gates.look_ups(job.provider)
    visit = None if ask is None else gate.try_enter()
    if ask is not None and visit is None and gate.is_full:
        gate.park(SETTLE, job_id)
        return
    with visit or nullcontext(), tracing.job_span("settle", job, callbacks=len(rows)):
        await _ask_and_judge(context, job, inbox, peeked, ask, visit)


async def _ask_and_judge(
    context: Context, job: Job, inbox: Inbox, peeked: Any, ask: AskAbout | None, visit: Visit | None
) -> None:
    pause = READ_BACK_PAUSE if ask is not None else _MOCK_PAUSE
    starts = await queries().claim_read_back(context.pool, id=job.id, pause=pause)
    if starts is None:
        await _later(context, job, inbox, peeked, pause)
    elif not await _is_given_up(context, job.id, starts):
        reach("judge.begun")
        found = None if ask is None else await read_back(context, job, ask.task_id, visit)
        await _judge(context, job, inbox, ask, found)


async def _wait_for_answer(context: Context, job: Job) -> None:
    """Leave callbacks that came too early to the submit's answer, which looks for them before it commits.

    If it looked just before they were there, it has the job's lock now; whoever gets that next sees how it went on.
    """
    async with context.transaction() as connection:
        locked = await lock(connection, job.id)
        if locked is not None and locked.job.version != job.version:
            await enqueue(connection, SETTLE, job.id)


async def _judge_rest(context: Context, job: Job, inbox: Inbox) -> None:
    """Judge what can be judged by itself."""
    if inbox.verdicts:
        await _judge(context, job, inbox, None, None)


async def _is_given_up(context: Context, job_id: UUID, starts: int) -> bool:
    if starts <= context.settings.engine.max_starts:
        return False
    await bury(context, SETTLE, job_id, f"started {starts - 1} times without an end")
    return True


async def _later(context: Context, job: Job, inbox: Inbox, peeked: Any, pause: float) -> None:
    """Somebody else is at it, or was a moment ago; judge what can be judged by itself, and come back for the rest."""
    since = peeked["read_back_at"] or peeked["clock"]
    wait = since + timedelta(seconds=pause) - peeked["clock"]
    inbox.postpone_the_rest()
    await _judge_rest(context, job, inbox)
    async with context.transaction() as connection:
        await enqueue(connection, SETTLE, job.id, delay=max(wait, timedelta(milliseconds=50)))


async def look_up(context: Context, job_id: UUID) -> None:
    """Read a running job back because its time has come."""
    full = context.gates.full_look_ups()
    begun = await begin(context, LOOK_UP, job_id, Status.RUNNING, lease=context.lease, full=full)
    if begun is None:
        return
    job = begun.job
    tracing.name_trace(job)
    if job.deadline_at <= begun.now:
        await _pass_deadline(context, job)
    elif not job.test and job.provider_task_id is not None:
        await _ask_by_the_clock(context, begun, job.provider_task_id)
    else:
        # A mock can't be read back; somebody has made the job due before its deadline.
        await _look_again(context, job, job.deadline_at)


async def _ask_by_the_clock(context: Context, begun: Locked, task_id: str) -> None:
    job, gate = begun.job, context.gates.look_ups(begun.job.provider)
    visit = gate.try_enter()
    if visit is None and gate.is_full:
        # Others were a moment faster. Nothing was asked, so it does not count as a try.
        await _look_again(context, job, begun.now + timedelta(seconds=_NO_ROOM_PAUSE))
        return
    with visit or nullcontext(), tracing.job_span("look up", job):
        inbox = Inbox()
        inbox.sort(context, job, [row async for row in queries().unjudged_callbacks(context.pool, job_id=job.id)])
        found = await read_back(context, job, task_id, visit)
        await _judge(context, job, inbox, AskAbout(task_id, hint=None), found)


async def _look_again(context: Context, job: Job, due_at: datetime) -> None:
    async with context.transaction() as connection:
        locked = await lock(connection, job.id)
        if locked is not None and locked.job.version == job.version:
            await postpone(connection, locked, due_at)


async def _pass_deadline(context: Context, job: Job) -> None:
    error = errors.deadline_exceeded(job.deadline_seconds, "running")
    async with context.transaction() as connection:
        locked = await lock(connection, job.id)
        if locked is not None and locked.job.run == job.run:
            await fail(context, connection, locked, error, happening=Happening.DEADLINE_PASSED)


async def _judge(context: Context, job: Job, inbox: Inbox, ask: AskAbout | None, found: ReadBack | None) -> None:
    """Write verdicts, events and the job's transition in one transaction."""
    try:
        async with context.transaction() as connection:
            await _judge_in(context, connection, job, inbox, ask, found)
            reach("judge.before_commit")
    except asyncpg.UniqueViolationError:
        # Another job has taken the candidate in this moment, so now it is seen to be that one's.
        async with context.transaction() as connection:
            await _judge_in(context, connection, job, inbox, ask, found)
    reach("judge.committed")
    for callback_id, said in inbox.verdicts.items():
        metrics.CALLBACKS_JUDGED.labels(job.provider, said.value).inc()
        log.info("callback.judged", job_id=show("job", job.id), callback_id=show("cb", callback_id), verdict=said.value)
        _trace_callback(job, inbox.rows[callback_id], said)


async def _judge_in(
    context: Context, connection: Connection, job: Job, inbox: Inbox, ask: AskAbout | None, found: ReadBack | None
) -> None:
    locked = await lock(connection, job.id)
    if locked is None:
        return
    if locked.job.run != job.run or locked.job.attempt != job.attempt or locked.job.status is not job.status:
        # Somebody else was faster: whatever is left in the inbox is read again, against the job as it is now.
        if inbox.rows:
            await enqueue(connection, SETTLE, job.id)
        inbox.verdicts.clear()
        return
    # Whatever this comes to, it has ended without a crash.
    locked = replace(locked, job=replace(locked.job, starts=0))
    outcome = None if found is None else found.outcome
    if ask is not None and ask.adopt and found is not None:
        locked, outcome = await _adopt(context, connection, locked, ask, found, inbox)
    told = await _write_verdicts(connection, job.id, inbox, outcome)
    if outcome is not None and locked.job.status is Status.RUNNING:
        await apply_found(context, connection, locked, outcome, told)
    elif inbox.mock is not None:
        await apply_mock(context, connection, locked, inbox.mock[1], told)
    else:
        await tell(connection, locked, told)


async def _adopt(
    context: Context, connection: Connection, locked: Locked, ask: AskAbout, found: ReadBack, inbox: Inbox
) -> tuple[Locked, Any]:
    """Make a candidate out of a callback the job's task, if the provider itself echoes our URL for it."""
    proven = _is_proven(context, locked.job, found) and not await _is_anothers(connection, locked.job, ask)
    silent = isinstance(found.outcome, LookUpUnavailable) or _is_too_new(locked, ask, found, inbox)
    if silent or not proven:
        if not silent:
            await _dismiss(connection, locked, ask, inbox)
        if inbox.asks:
            # No word from the provider, or other candidates: these callbacks stay unjudged and are looked at again.
            await enqueue(connection, SETTLE, locked.job.id, delay=timedelta(seconds=READ_BACK_PAUSE))
        await queries().end_start(connection, id=locked.job.id)
        inbox.asks.clear()
        return locked, None
    adopted = await record(
        connection,
        locked,
        Happening.ACCEPTED,
        provider_task_id=ask.task_id,
        submitted_at=locked.now,
        due_at=first_poll(context, locked),
    )
    # Candidates other than the one that was asked about are somebody else's.
    for callback_id in [i for i, other in inbox.asks.items() if other.task_id != ask.task_id]:
        inbox.verdicts[callback_id] = Verdict.FOREIGN
        del inbox.asks[callback_id]
    return adopted or locked, found.outcome


def _is_too_new(locked: Locked, ask: AskAbout, found: ReadBack, inbox: Inbox) -> bool:
    """Whether a task may be unknown to the provider only because its own books are late."""
    came = [inbox.rows[i]["received_at"] for i, other in inbox.asks.items() if other.task_id == ask.task_id]
    return isinstance(found.outcome, TaskNotFound) and locked.now - min(came) < _BOOKS_LATE


async def _dismiss(connection: Connection, locked: Locked, ask: AskAbout, inbox: Inbox) -> None:
    """Give the callbacks that name this candidate their verdict; those that name another one keep their turn."""
    others = await _is_anothers(connection, locked.job, ask)
    for callback_id in [i for i, other in inbox.asks.items() if other.task_id == ask.task_id]:
        inbox.verdicts[callback_id] = Verdict.FOREIGN if others else Verdict.UNPROVEN
        del inbox.asks[callback_id]


async def _is_anothers(connection: Connection, job: Job, ask: AskAbout) -> bool:
    """Whether a candidate is another job's task already: then whoever named it, it is not ours."""
    return bool(
        await queries().task_belongs_to_another(connection, provider=job.provider, task_id=ask.task_id, job_id=job.id)
    )


def _is_proven(context: Context, job: Job, found: ReadBack) -> bool:
    """Whether a candidate is the job's own task: the provider's echo of our URL says so.

    A provider that echoes nothing leaves us with less: it knows the task with our key, and no other job has its id (the
    schema sees to that). Whoever could abuse this holds the job's token already.
    """
    if found.callback_url is None and not context.provider(job.provider).echoes_callback_url:
        return isinstance(found.outcome, StillRunning | Succeeded | Failed)
    return _names_us(context, job, found.callback_url)


def _names_us(context: Context, job: Job, url: str | None) -> bool:
    if url is None:
        return False
    try:
        token = urlsplit(url).path.rpartition("/")[2]
    except ValueError:
        return False
    return tokens.check(context.keyring, job.provider, token) == (job.id, job.attempt)


async def _write_verdicts(connection: Connection, job_id: UUID, inbox: Inbox, outcome: Any) -> tuple[Told, ...]:
    if outcome is not None and not isinstance(outcome, LookUpUnavailable):
        inbox.verdicts |= {i: verdict.compare(asked.hint, outcome) for i, asked in inbox.asks.items()}
    if not inbox.verdicts:
        return ()
    distinct = queries().judge_callbacks(
        connection, job_id=job_id, ids=list(inbox.verdicts), verdicts=[said.value for said in inbox.verdicts.values()]
    )
    return tuple([callback_told(inbox.rows[row["id"]], row["verdict"]) async for row in distinct])


async def _close(context: Context, job_id: UUID, rows: list[Any], job: Job | None) -> None:
    """The run has ended, or there is no such job (any more): no event tells of what comes now."""
    verdict = Verdict.UNKNOWN_JOB if job is None else Verdict.LATE
    async for _ in queries().judge_callbacks(
        context.pool, job_id=job_id, ids=[row["id"] for row in rows], verdicts=[verdict.value] * len(rows)
    ):
        pass
    if job is not None:
        tracing.name_trace(job)
        for row in rows:
            _trace_callback(job, row, Verdict.LATE)
    log.info("callback.judged", job_id=show("job", job_id), verdict=verdict.value, count=len(rows))


def _trace_callback(job: Job, row: Any, said: Verdict) -> None:
    """Add a callback's span to its job's trace: from when it was acknowledged, where nobody asked whose it is, until now."""
    if tracing.is_recording():
        with tracing.job_span("callback", job, kind="consumer", since=row["received_at"]) as span:
            span.set(callback_id=show("cb", row["id"]), verdict=said.value, attempt=row["attempt"])
