"""Asking the provider, with our key, what the state of a task is."""

from __future__ import annotations

import time

import structlog

from service.engine.context import Context
from service.ids import show
from service.jobs.model import Job
from service.net.calls import AnswerLostError, NotSentError, send
from service.points import reach
from service.providers.contract import LookUpUnavailable, ReadBack

log = structlog.get_logger()


async def read_back(context: Context, job: Job, task_id: str) -> ReadBack:
    """Look one task up; network trouble is an outcome like any other."""
    access = context.access(job.provider)
    if access is None:
        return ReadBack(LookUpUnavailable("no API key"))
    provider = context.provider(job.provider)
    timeout = context.provider_settings(job.provider).look_up_timeout_seconds
    began = time.monotonic()
    try:
        reply = await send(
            context.provider_client,
            provider.look_up_call(access, job.operation, task_id),
            timeout=timeout,
            secret=access.api_key,
        )
        found = provider.read_look_up(job.operation, task_id, reply)
    except (NotSentError, AnswerLostError) as error:
        found = ReadBack(LookUpUnavailable(str(error)))
    reach("judge.read_back")
    log.info(
        "job.read_back",
        job_id=show("job", job.id),
        provider=job.provider,
        outcome=type(found.outcome).__name__,
        seconds=round(time.monotonic() - began, 3),
    )
    return found
