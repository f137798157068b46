"""Reading ModelsLab's answer to a submit. The question behind every line: may this task be running, and be charged?

https://docs.modelslab.com/enterprise-api/text-to-image/text2img
https://docs.modelslab.com/error-codes
checked 2026-09

The answer may be the result itself, a place in the queue, or an error, each of them under HTTP 200.

What proves that nothing runs, and what does not:

- An id, whatever else is said, under HTTP 200: there is a task. It is looked up like any other, and that answer counts.
- 429, or under HTTP 200 a sentence that begins with the words of a rate limit: ModelsLab counts places in its queue and gave
  none. May be sent again. Anywhere else such words may be the customer's own, who would then be served again and again.
- `error` without an id, under HTTP 200 or 4xx: a refusal in ModelsLab's own envelope. Nothing runs. Final, also for "try
  again" and "model is loading": that the request was turned away before anything was begun is likely, but only a 429 or
  a 4xx prove it well enough to pay again without being asked. The hint says that a retry of the job may help.
- `failed` without an id, under HTTP 200 ("Failed, Try Again"): it was tried. Nothing runs any more and no callback comes,
  so the job ends now, as failed and not as refused; nobody says whether it is charged.
- 5xx, also in words under HTTP 200 ("Internal server error", "Request timed out", even "Request processing"), 408, another
  page's HTML: nobody knows.
"""

from __future__ import annotations

from collections.abc import Sequence

from service.providers.contract import (
    Accepted,
    Finished,
    HttpReply,
    NotRun,
    OutputKind,
    Rejected,
    SubmitOutcome,
    Unclear,
)
from service.providers.modelslab.envelope import FAILED, SUCCEEDED, Envelope, read_reply, read_wait
from service.providers.modelslab.errors import (
    MISSING,
    describe_failure,
    describe_rejection,
    is_rate_limit,
    may_run,
)
from service.providers.modelslab.sources import read_sources


def read_submit(operation: str, kinds: Sequence[OutputKind], reply: HttpReply) -> SubmitOutcome:
    """Read the answer to a submit; never raises. kinds: what the operation makes."""
    envelope = read_reply(reply)
    if 200 <= reply.status < 300:
        return _read_success(operation, reply, envelope, kinds)
    if 400 <= reply.status < 500:
        return _decide_refusal(operation, reply, envelope)
    return Unclear(f"HTTP {reply.status}")


def _read_success(operation: str, reply: HttpReply, envelope: Envelope, kinds: Sequence[OutputKind]) -> SubmitOutcome:
    sources = read_sources(envelope.said, kinds) if envelope.status in SUCCEEDED else ()
    if sources:
        return Finished(envelope.task_id, sources)
    if envelope.task_id is not None:
        # In the queue; or done without saying where, or badly: the look-up will tell.
        return Accepted(envelope.task_id)
    if envelope.status in SUCCEEDED:
        return Finished(None, ())
    if envelope.status in FAILED:
        return _read_error(operation, reply, envelope)
    return Unclear(f"HTTP {reply.status} without a task id")


def _read_error(operation: str, reply: HttpReply, envelope: Envelope) -> SubmitOutcome:
    if is_rate_limit(reply.status, envelope.words):
        return NotRun(f"HTTP {reply.status} rate limit", read_wait(reply, envelope))
    if may_run(reply.status, envelope.words):
        return Unclear(f"HTTP {reply.status} with an error that leaves it open")
    if envelope.status == "failed":
        return Rejected(describe_failure(envelope, reply.status))
    return Rejected(describe_rejection(operation, reply.status, envelope))


def _decide_refusal(operation: str, reply: HttpReply, envelope: Envelope) -> SubmitOutcome:
    if reply.status == 408:  # a gateway's time-out says nothing about the task
        return Unclear("HTTP 408")
    if is_rate_limit(reply.status, envelope.words):
        return NotRun(f"HTTP {reply.status} rate limit", read_wait(reply, envelope))
    # A 404 that ModelsLab did not write is its router's: this endpoint is not there, so nothing can run.
    if envelope.status in FAILED or reply.status in MISSING:
        return Rejected(describe_rejection(operation, reply.status, envelope))
    return Unclear(f"HTTP {reply.status}")
