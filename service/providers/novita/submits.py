"""Reading Novita's answer to a submit. The question behind every line: may this task be running, and be charged?

https://novita.ai/docs/guides/model-apis-v2-to-v3-migration (the two envelopes)
https://novita.ai/docs/api-reference/basic-error-code
checked 2026-09
"""

from __future__ import annotations

from service.providers.contract import Accepted, HttpReply, Json, NotRun, Rejected, SubmitOutcome, Unclear
from service.providers.novita.errors import (
    ENDPOINT_GONE,
    RATE_LIMIT,
    REASONS,
    V2_REFUSALS,
    Envelope,
    describe_rejection,
    read_envelope,
)
from service.providers.replies import read_object, read_reply_json, read_retry_after, read_task_id


def read_submit(operation: str, reply: HttpReply) -> SubmitOutcome:
    """Read the answer to a submit that begins a task; never raises."""
    value = read_reply_json(reply)
    envelope = read_envelope(value)
    if 200 <= reply.status < 300:
        return _read_success(operation, reply, value, envelope)
    if 400 <= reply.status < 500:
        return decide_refusal(operation, reply, reply.status, envelope)
    return Unclear(_name(reply, envelope))


def _read_success(operation: str, reply: HttpReply, value: Json, envelope: Envelope | None) -> SubmitOutcome:
    """V3 answers `{"task_id"}`; many examples on its pages still show V2's `{"code", "msg", "data": {"task_id"}}`."""
    answer = read_object(value)
    task_id = read_task_id(answer.get("task_id"))
    if task_id is not None:
        return Accepted(task_id)
    if envelope is not None and not is_fine(envelope):
        return decide_refusal(operation, reply, _status_inside(envelope), envelope)
    task_id = read_task_id(read_object(answer.get("data")).get("task_id"))
    return Accepted(task_id) if task_id is not None else Unclear(f"HTTP {reply.status} without a task id")


def is_fine(envelope: Envelope) -> bool:
    """Tell whether an envelope under HTTP 2xx reports no error."""
    if envelope.code is None:
        return envelope.reason is None
    return envelope.code == 0 or 200 <= envelope.code < 300


def _status_inside(envelope: Envelope) -> int:
    """Return the status that an error under HTTP 2xx should have had; what we can't read may have run, so it is a 500."""
    if envelope.code is not None and 400 <= envelope.code < 600:
        return envelope.code
    if envelope.reason is None and envelope.code in V2_REFUSALS:
        return 400
    known = REASONS.get(envelope.reason or "")
    return known.status if known else 500


def decide_refusal(operation: str, reply: HttpReply, status: int, envelope: Envelope | None) -> SubmitOutcome:
    """Decide what an answer means that brings no result. status: the one that counts, which may lie inside the body."""
    reason = envelope.reason if envelope else None
    if status >= 500 or status == 408:  # it may have run: a gateway's time-out says nothing about the task
        return Unclear(_name(reply, envelope))
    if status == 429 or reason == RATE_LIMIT:
        return NotRun(_name(reply, envelope), read_retry_after(reply.headers))
    # Novita retires endpoints, and a gateway without a route answers in its own words, not in Novita's.
    if envelope is not None or status in {404, 410} or reason == ENDPOINT_GONE:
        return Rejected(describe_rejection(operation, reply.status, envelope))
    return Unclear(_name(reply, envelope))


def _name(reply: HttpReply, envelope: Envelope | None) -> str:
    """Name the answer by status and documented reason only: its message may quote our callback URL."""
    known = envelope is not None and envelope.reason in REASONS
    return f"HTTP {reply.status} {envelope.reason}" if envelope and known else f"HTTP {reply.status}"
