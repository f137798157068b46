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

import structlog

from service.db.pool import DATABASE_AWAY
from service.db.sql import queries
from service.engine import errors
from service.engine.context import Context
from service.engine.intent import Intent, take_up
from service.engine.mocks import send_mock
from service.engine.outcome import record_outcome
from service.engine.unclear import RECORDING
from service.ids import show
from service.jobs.model import Job
from service.net.calls import AnswerLostError, NotSentError, send
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

_BIG = 256 * 1024  # bytes
_LOOK_AGAIN = 10.0  # seconds


async def submit(context: Context, job_id: UUID) -> None:
    """Do what a due job in `queued` or `submitting` needs; anything else is left alone."""
    intent = await take_up(context, job_id)
    if intent is None:
        return
    reach("submit.intent_committed")
    if context.answers_with_the_result(intent.job):
        context.calls.begin(_carry(context, intent), name=f"call for {show('job', job_id)}")
    else:
        await _carry(context, intent)


async def _carry(context: Context, intent: Intent) -> None:
    """Send an attempt and record what became of it."""
    job_id, began = intent.job.id, time.monotonic()
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


def _ours(context: Context, job: Job) -> Ours:
    mode = TestMode(job.test_status) if job.test_status else None  # type: ignore[arg-type]
    url = context.callback_url(job.provider, job.id, job.attempt)
    return Ours(url, f"{show('job', job.id)}-{job.attempt}", mode)


async def _build(context: Context, intent: Intent, access: ProviderAccess) -> HttpCall:
    job, provider, ours = intent.job, context.provider(intent.job.provider), _ours(context, intent.job)

    def build() -> HttpCall:
        return provider.submit_call(access, job.operation, json.loads(intent.body), ours)

    # Reading and writing megabytes of base64 would hold up every other job of this process.
    return await asyncio.to_thread(build) if len(intent.body) > _BIG else build()


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
        reply = await send(
            context.provider_client,
            call,
            timeout=context.submit_timeout(job),
            not_after=intent.not_after,
            max_bytes=context.settings.outputs.max_answer_bytes,
            secret=access.api_key,
        )
    except NotSentError as error:
        return NotRun(f"not sent: {error}")
    except AnswerLostError as error:
        return Unclear(f"no answer: {error}")
    read = context.provider(job.provider).read_submit
    # Some answers carry the images themselves.
    return await asyncio.to_thread(read, job.operation, reply) if len(reply.body) > _BIG else read(job.operation, reply)


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
            with suppress(*DATABASE_AWAY):
                row = await queries().peek_job(context.pool, id=job.id)
                if row is None or row["completed_at"] is not None or row["attempt"] != job.attempt:
                    return
            # A cancel wakes at once; the pause is for a listener that is dead without knowing it.
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_AGAIN):
                    await event.wait()
            event.clear()


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
