"""Asking a provider: one call, counted, timed and, where somebody records them, a span of the job's trace."""

from __future__ import annotations

import time
from typing import Literal

from service import metrics, tracing
from service.engine.context import Context
from service.jobs.model import Job
from service.net.calls import AnswerLostError, NotSentError, send
from service.providers.contract import HttpCall, HttpReply, ProviderAccess


async def ask(
    context: Context,
    job: Job,
    kind: Literal["submit", "look_up"],
    call: HttpCall,
    access: ProviderAccess,
    *,
    timeout: float,
    not_after: float | None = None,
) -> HttpReply:
    """Send a call about a job and read its answer; as `send`, with its errors."""
    began, outcome = time.monotonic(), "canceled"
    with tracing.job_span(f"provider {kind}", job, kind="client", nested=True) as span:
        try:
            reply = await send(
                context.provider_client,
                call,
                timeout=timeout,
                not_after=not_after,
                max_bytes=context.settings.outputs.max_answer_bytes,
                secret=access.api_key,
            )
            outcome = _name(reply.status)
            span.set(http_status=reply.status)
        except NotSentError:
            outcome = "not_sent"
            raise
        except AnswerLostError:
            outcome = "answer_lost"
            raise
        except Exception:
            outcome = "error"
            raise
        finally:
            span.set(outcome=outcome)
            metrics.PROVIDER_CALLS.labels(job.provider, job.operation, kind, outcome).inc()
            metrics.PROVIDER_CALL_SECONDS.labels(job.provider, kind).observe(time.monotonic() - began)
    return reply


def _name(status: int) -> str:
    """Return how an answer is counted: those that mean "later" apart from those that are ours to mend."""
    return "429" if status == 429 else f"{status // 100}xx"
