"""Reading the state of a task: from a look-up, and from a callback, which have the same envelope.

https://docs.modelslab.com/enterprise-api/text-to-image/fetch-queue-image
https://docs.modelslab.com/webhooks
checked 2026-09

An `error` under a look-up may be about the task, or about the look-up itself. Ending a paid job on the second kind would
lose its outputs, so what is about our account, our pace or ModelsLab's own trouble says nothing about the task; so do words
that nobody has seen yet, unless the answer names the task ("Something went wrong"). The job's own deadline ends the asking.
`failed` is how tasks end, and is believed without an id too, which is how it was recorded.
"""

from __future__ import annotations

from collections.abc import Sequence

from service.providers.contract import (
    CallbackHint,
    CallbackUnreadable,
    Failed,
    HttpReply,
    LookUpOutcome,
    LookUpUnavailable,
    OutputKind,
    ReadBack,
    State,
    StillRunning,
    Succeeded,
    TaskNotFound,
)
from service.providers.modelslab.envelope import (
    FAILED,
    SUCCEEDED,
    Envelope,
    names_other_task,
    names_task,
    read_echo,
    read_envelope,
    read_reply,
    read_wait,
)
from service.providers.modelslab.errors import About, decide_about, describe_failure, is_about_us, is_progress
from service.providers.modelslab.sources import ANY, read_sources
from service.providers.replies import NotJson, read_json

ABOUT_THE_TASK = frozenset({400, 422})  # of 4xx; any other is about the request's place or its sender


def read_look_up(kinds: Sequence[OutputKind], task_id: str, reply: HttpReply) -> ReadBack:
    """Read the answer to a read-back; never raises. An answer about another task is LookUpUnavailable."""
    envelope = read_reply(reply)
    if names_other_task(envelope, task_id):
        return ReadBack(LookUpUnavailable("the answer is about another task"))
    if envelope.status == "error" or not 200 <= reply.status < 300:
        return ReadBack(_read_trouble(task_id, reply, envelope))
    if envelope.status == "failed" and _says_nothing(task_id, reply, envelope):
        return ReadBack(_silence(reply, envelope))
    state = _read_state(envelope, kinds)
    if state is None:
        return ReadBack(LookUpUnavailable(f"HTTP {reply.status} without a status"))
    return ReadBack(state, read_echo(envelope))


def read_callback(body: bytes) -> CallbackHint:
    """Read a callback's body; raises CallbackUnreadable and nothing else."""
    try:
        event = read_json(body)
    except NotJson as error:
        raise CallbackUnreadable(str(error)) from None
    if not isinstance(event, dict):
        raise CallbackUnreadable("not an object")
    # `track_id` comes back from whoever knows it, so it proves nothing and is not even read.
    envelope = read_envelope(event)
    if "workflow" in event and "event" in event:  # a workflow's payload; its `execution` is none of ours
        return CallbackHint(False, None, None)
    if not isinstance(event.get("status"), str):
        return CallbackHint(False, envelope.task_id, None)
    return CallbackHint(True, envelope.task_id, _read_state(envelope, ANY) or StillRunning(None))


def _read_state(envelope: Envelope, kinds: Sequence[OutputKind]) -> State | None:
    """Return what a status says; any that we don't know means: still running. None when there is none."""
    status = envelope.shown_status
    if envelope.status in SUCCEEDED:
        return Succeeded(status or "", read_sources(envelope.said, kinds))
    if envelope.status in FAILED:
        return Failed(status or "", describe_failure(envelope))
    if status is None and "processing" not in (envelope.words or "").lower():
        return None
    return StillRunning(status)


def _read_trouble(task_id: str, reply: HttpReply, envelope: Envelope) -> LookUpOutcome:
    silent = _silence(reply, envelope)
    readable = 200 <= reply.status < 300 or 400 <= reply.status < 500
    if envelope.status not in FAILED or not readable or _says_nothing(task_id, reply, envelope):
        return silent
    if is_progress(envelope.words):
        return StillRunning(envelope.shown_status)
    about, _ = decide_about(reply.status, envelope.words)
    if about is About.TASK_ID or reply.status == 404:
        return TaskNotFound()
    known = about is About.REQUEST or envelope.status == "failed" or names_task(envelope, task_id)
    if known and (reply.status < 300 or reply.status in ABOUT_THE_TASK):
        return Failed(envelope.shown_status or "", describe_failure(envelope, reply.status))
    return silent


def _says_nothing(task_id: str, reply: HttpReply, envelope: Envelope) -> bool:
    """Tell whether an error is no more than the look-up's own; `failed` is about the task that it names."""
    named = envelope.status == "failed" and names_task(envelope, task_id)
    return not named and is_about_us(reply.status, envelope.words)


def _silence(reply: HttpReply, envelope: Envelope) -> LookUpUnavailable:
    error = " error" if envelope.status in FAILED else ""
    return LookUpUnavailable(f"HTTP {reply.status}{error}", read_wait(reply, envelope))
