"""The task `submit`: send a queued job to its provider, once, and watch over a submit whose outcome is open.

A call that the provider answers with the result itself takes minutes: it goes on apart from the task, and ends when its job
does, whoever ends that.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any
from uuid import UUID

import asyncpg
import structlog

from service import metrics, tracing
from service.db.pool import DATABASE_AWAY
from service.db.sql import queries
from service.engine import errors
from service.engine.asking import ask
from service.engine.attempts import RECORDING
from service.engine.context import BIG, Context
from service.engine.intent import Intent, take_up
from service.engine.ledger import SUBMIT
from service.engine.mocks import send_mock
from service.engine.outcome import record_outcome
from service.engine.starting import after_exception
from service.ids import show
from service.jobs.model import Job
from service.net.calls import AnswerLostError, NotSentError
from service.points import reach
from service.providers.contract import (
    HttpCall,
    NotRun,
    Ours,
    ProviderAccess,
    Rejected,
    SubmitOutcome,
    TestMode,
    Unclear,
)

log = structlog.get_logger()

_LOOK_AGAIN = 10.0  # seconds
# The database is away, or in trouble of its own: a migration meanwhile, a deadlock.
_PASSING: tuple[type[BaseException], ...] = (*DATABASE_AWAY, asyncpg.PostgresError)


async def submit(context: Context, job_id: UUID) -> None:
    """Do what a due job in `queued` or `submitting` needs; anything else is left alone."""
    intent = await take_up(context, job_id)
    if intent is None:
        return
    reach("submit.intent_committed")
    if context.answers_with_the_result(intent.job):
        context.calls.begin(_carry_apart(context, intent), job_id)
    else:
        await _carry(context, intent)


async def _carry_apart(context: Context, intent: Intent) -> None:
    """Carry a call that no task waits for; what goes wrong is told here, for nobody else would."""
    try:
        await _carry(context, intent)
    except Exception as error:
        log.exception("call.raised", job_id=show("job", intent.job.id), reason=type(error).__name__)
        with suppress(*DATABASE_AWAY):
            await after_exception(context, SUBMIT, intent.job.id, type(error).__name__)
    finally:
        context.gates.ring()


async def _carry(context: Context, intent: Intent) -> None:
    """Send an attempt and record what became of it."""
    job_id, began = intent.job.id, time.monotonic()
    tracing.name_trace(intent.job)
    with tracing.job_span("submit", intent.job) as span:
        with intent.visit:
            outcome = await _call(context, intent)
        reach("submit.sent")
        span.set(outcome=type(outcome).__name__)
        await _to_its_end(_finish_surely(context, intent.job, outcome))
    reach("submit.outcome_committed")
    kind, test = type(outcome).__name__, str(intent.job.test).lower()
    metrics.SUBMITS.labels(intent.job.provider, intent.job.operation, kind, test).inc()
    log.info(
        "job.submitted",
        job_id=show("job", job_id),
        provider=intent.job.provider,
        attempt=intent.job.attempt,
        outcome=kind,
        seconds=round(time.monotonic() - began, 3),
    )


def _ours(context: Context, job: Job) -> Ours:
    mode = TestMode(job.test_status) if job.test_status else None  # type: ignore[arg-type]
    url = context.callback_url(job.provider, job.id, job.attempt)
    return Ours(url, f"{show('job', job.id)}-{job.attempt}", mode)


async def _build(context: Context, intent: Intent, access: ProviderAccess) -> HttpCall:
    job, provider, ours = intent.job, context.provider(intent.job.provider), _ours(context, intent.job)

    def build() -> HttpCall:
        return provider.submit_call(access, job.operation, json.loads(intent.body), ours)

    # Reading and writing megabytes of base64 would hold up every other job of this process.
    return await asyncio.to_thread(build) if len(intent.body) > BIG else build()


async def _call(context: Context, intent: Intent) -> SubmitOutcome:
    job, provider = intent.job, context.provider(intent.job.provider)
    if context.operation(job) is None:
        return Rejected(errors.operation_gone(job.provider, job.operation))
    if context.mocks(job):
        body = json.loads(intent.body)
        return await send_mock(context.provider_client, provider, job.operation, body, _ours(context, job))
    assert intent.access is not None
    if context.answers_with_the_result(job):
        return await _until_ended(context, job, _send(context, intent, intent.access))
    return await _send(context, intent, intent.access)


async def _send(context: Context, intent: Intent, access: ProviderAccess) -> SubmitOutcome:
    job = intent.job
    call = await _build(context, intent, access)
    try:
        reply = await ask(
            context, job, "submit", call, access, timeout=context.submit_timeout(job), not_after=intent.not_after
        )
    except NotSentError as error:
        intent.visit.failed(error)
        return NotRun(f"not sent: {error}")
    except AnswerLostError as error:
        intent.visit.failed(error)
        return Unclear(f"no answer: {error}")
    intent.visit.answered(reply.status)
    read, big = context.provider(job.provider).read_submit, len(reply.body) > BIG
    # Some answers carry the images themselves.
    outcome = await asyncio.to_thread(read, job.operation, reply) if big else read(job.operation, reply)
    if isinstance(outcome, NotRun):
        intent.visit.refused(outcome.retry_after)
    return outcome


async def _until_ended(context: Context, job: Job, sending: Coroutine[Any, Any, SubmitOutcome]) -> SubmitOutcome:
    """Return the outcome of a long call, or break it off once nobody waits for it: canceled, or past its deadline."""
    call = asyncio.create_task(sending)
    watch = asyncio.create_task(_job_moves_on(context, job))
    try:
        await asyncio.wait({call, watch}, return_when=asyncio.FIRST_COMPLETED)
        if call.done():
            return call.result()
        return Unclear("broken off: its job had ended")
    finally:
        call.cancel()
        watch.cancel()
        await asyncio.gather(call, watch, return_exceptions=True)


async def _job_moves_on(context: Context, job: Job) -> None:
    """Return once the job does not wait for this attempt any more."""
    async with context.endings.subscribe(job.id) as event:
        while True:
            try:
                row = await queries().peek_job(context.pool, id=job.id)
            except Exception as error:  # whatever it is, it must not break a paid call off
                log.warning("call.not_watched", job_id=show("job", job.id), reason=type(error).__name__)
            else:
                if row is None or row["completed_at"] is not None or row["attempt"] != job.attempt:
                    return
            # A cancel wakes at once; the pause is for a listener that is dead without knowing it.
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_AGAIN):
                    await event.wait()
            event.clear()


async def _to_its_end(finishing: Coroutine[Any, Any, None]) -> None:
    """Finish also when the process is told to stop meanwhile: an answer that we have must not get lost."""
    task = asyncio.create_task(finishing)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise


async def _finish_surely(context: Context, job: Job, outcome: SubmitOutcome) -> None:
    """Record the outcome, also when the database is away or in trouble for a while."""
    until, pause = time.monotonic() + RECORDING, 0.1
    while True:
        try:
            await record_outcome(context, job, outcome)
        except asyncpg.IntegrityConstraintViolationError:
            raise  # that would not pass
        except _PASSING as error:
            if time.monotonic() + pause > until:
                raise
            log.warning("job.outcome_held", job_id=show("job", job.id), reason=type(error).__name__)
        else:
            return
        await asyncio.sleep(pause)
        pause = min(pause * 2, 2.0)
