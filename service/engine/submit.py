"""The task `submit`: send a queued job to its provider, once, and watch over a submit whose outcome is open."""

from __future__ import annotations

import asyncio
import json
import time
from uuid import UUID

import structlog

from service.db.pool import DATABASE_AWAY
from service.engine.context import Context
from service.engine.intent import Intent, take_up
from service.engine.outcome import record_outcome
from service.engine.unclear import RECORDING
from service.ids import show
from service.jobs.model import Job
from service.net.calls import AnswerLostError, NotSentError, send
from service.points import reach
from service.providers.contract import HttpCall, NotRun, Ours, SubmitOutcome, TestMode, Unclear

log = structlog.get_logger()

_BIG = 256 * 1024  # bytes


async def submit(context: Context, job_id: UUID) -> None:
    """Do what a due job in `queued` or `submitting` needs; anything else is left alone."""
    intent = await take_up(context, job_id)
    if intent is None:
        return
    reach("submit.intent_committed")
    began = time.monotonic()
    outcome = await _call(context, intent)
    reach("submit.sent")
    await _finish_surely(context, intent.job, outcome)
    reach("submit.outcome_committed")
    log.info(
        "job.submitted",
        job_id=show("job", job_id),
        provider=intent.job.provider,
        attempt=intent.job.attempt,
        outcome=type(outcome).__name__,
        seconds=round(time.monotonic() - began, 3),
    )


async def _build(context: Context, intent: Intent) -> HttpCall:
    job = intent.job
    mode = TestMode(job.test_status) if job.test_status else None  # type: ignore[arg-type]
    reference = f"{show('job', job.id)}-{job.attempt}"
    url = context.callback_url(job.provider, job.id, job.attempt)
    provider = context.provider(job.provider)

    def build() -> HttpCall:
        return provider.submit_call(intent.access, job.operation, json.loads(intent.body), Ours(url, reference, mode))

    # Reading and writing megabytes of base64 would hold up every other job of this process.
    return await asyncio.to_thread(build) if len(intent.body) > _BIG else build()


async def _call(context: Context, intent: Intent) -> SubmitOutcome:
    job = intent.job
    timeout = context.provider_settings(job.provider).submit_timeout_seconds
    call = await _build(context, intent)
    try:
        reply = await send(context.provider_client, call, timeout=timeout, not_after=intent.not_after)
    except NotSentError as error:
        return NotRun(f"not sent: {error}")
    except AnswerLostError as error:
        return Unclear(f"no answer: {error}")
    return context.provider(job.provider).read_submit(job.operation, reply)


async def _finish_surely(context: Context, job: Job, outcome: SubmitOutcome) -> None:
    """Record the outcome, also when the database is away for a while: an answer that we have must not get lost."""
    until, pause = time.monotonic() + RECORDING, 0.1
    while True:
        try:
            await record_outcome(context, job, outcome)
        except DATABASE_AWAY as error:
            if time.monotonic() + pause > until:
                raise
            log.warning("job.outcome_held", job_id=show("job", job.id), reason=type(error).__name__)
        else:
            return
        await asyncio.sleep(pause)
        pause = min(pause * 2, 2.0)
