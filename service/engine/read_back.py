"""Asking the provider, with our key, what the state of a task is."""

from __future__ import annotations

import asyncio
import time

import structlog

from service.db.sql import queries
from service.engine.asking import ask
from service.engine.context import BIG, Context
from service.engine.gate import Visit
from service.ids import show
from service.jobs.model import Job
from service.net.calls import AnswerLostError, NotSentError
from service.points import reach
from service.providers.contract import LookUpUnavailable, ReadBack

log = structlog.get_logger()


async def read_back(context: Context, job: Job, task_id: str, visit: Visit | None) -> ReadBack:
    """Look one task up; network trouble is an outcome like any other.

    visit: a place at the provider's gate for look-ups; None: it has none to give, and nothing is sent.
    """
    access = context.access(job.provider)
    if access is None:
        return ReadBack(LookUpUnavailable("no API key"))
    if not context.can_look_up(job):
        return ReadBack(LookUpUnavailable("the settings do not name its operation any more"))
    provider, gate = context.provider(job.provider), context.gates.look_ups(job.provider)
    if visit is None:
        # It seems to be down and is left alone, or as many as may are asking already.
        return ReadBack(LookUpUnavailable(gate.trouble or "busy", gate.opens_in or None))
    sent_to = None
    if not provider.echoes_callback_url:
        # Nothing would tell another task of the same number, and the settings may have moved the operation since.
        sent_to = await queries().sent_to(context.pool, job_id=job.id, number=job.attempt)
    timeout = context.provider_settings(job.provider).look_up_timeout_seconds
    began = time.monotonic()
    try:
        call = provider.look_up_call(access, job.operation, task_id, sent_to)
        reply = await ask(context, job, "look_up", call, access, timeout=timeout)
        visit.answered(reply.status)
        read, big = provider.read_look_up, len(reply.body) > BIG
        # Some answers carry the images themselves.
        found = (
            await asyncio.to_thread(read, job.operation, task_id, reply) if big else read(job.operation, task_id, reply)
        )
        if reply.status == 429:
            # "Later" is meant for all of our look-ups.
            visit.refused(found.outcome.retry_after if isinstance(found.outcome, LookUpUnavailable) else None)
    except (NotSentError, AnswerLostError) as error:
        visit.failed(error)
        found = ReadBack(LookUpUnavailable(str(error)))
    finally:
        visit.leave()
    reach("judge.read_back")
    log.info(
        "job.read_back",
        job_id=show("job", job.id),
        provider=job.provider,
        outcome=type(found.outcome).__name__,
        seconds=round(time.monotonic() - began, 3),
    )
    return found
