"""Reading the state of a task: from task-result, and from a callback, whose payload has the same shape.

https://novita.ai/docs/api-reference/model-apis-task-result (every field is optional there)
https://novita.ai/docs/api-reference/model-apis-webhook
checked 2026-09

Don't count outputs and don't look at `task_type`: the page's own example asks for one image, gets four, and calls an
img2img task TXT_TO_IMG.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from service.providers.contract import (
    CallbackHint,
    CallbackUnreadable,
    Failed,
    HttpReply,
    Json,
    LookUpOutcome,
    LookUpUnavailable,
    OutputKind,
    ReadBack,
    Source,
    State,
    StillRunning,
    Succeeded,
    TaskNotFound,
)
from service.providers.novita.errors import REASONS, TASK_UNKNOWN, V2_TASK_UNKNOWN, describe_failure, read_envelope
from service.providers.replies import (
    MOST_ITEMS,
    NotJson,
    read_integer,
    read_json,
    read_object,
    read_reply_json,
    read_retry_after,
    read_task_id,
    read_text,
    read_url,
    show_code,
)

# TASK_STATUS_QUEUED, …_PROCESSING, …_UNKNOWN (an SDK knows it) and whatever comes next mean: still running.
SUCCEEDED = frozenset({"TASK_STATUS_SUCCEED"})  # without a final ED
FAILED = frozenset({"TASK_STATUS_FAILED", "TASK_STATUS_CANCELED"})  # the second one is seen in one client only
EVENT = "ASYNC_TASK_RESULT"
KINDS: tuple[OutputKind, ...] = ("image", "video", "audio")
LONGEST_TTL = 10**9
NSFW_ENTRIES = 16


def read_look_up(task_id: str, reply: HttpReply) -> ReadBack:
    """Read the answer to a read-back; never raises. An answer about another task is LookUpUnavailable."""
    answer = read_object(read_reply_json(reply))
    if not (200 <= reply.status < 300 and isinstance(answer.get("task"), dict)):
        return ReadBack(_read_trouble(reply, answer))
    said = answer["task"].get("task_id")
    if said not in (None, "") and read_task_id(said) != task_id:
        return ReadBack(LookUpUnavailable("the answer is about another task"))
    return ReadBack(_read_state(answer), _read_echo(answer))


def read_callback(body: bytes) -> CallbackHint:
    """Read a callback's body; raises CallbackUnreadable and nothing else."""
    try:
        event = read_json(body)
    except NotJson as error:
        raise CallbackUnreadable(str(error)) from None
    if not isinstance(event, dict) or not isinstance(event.get("event_type"), str):
        raise CallbackUnreadable("not an object with an event_type")
    known = event["event_type"] == EVENT
    payload = event.get("payload")
    if known and not isinstance(payload, dict):
        raise CallbackUnreadable("no payload")
    task = read_object(payload).get("task")
    # Of an event that we don't know not even its status counts.
    state = _read_state(payload) if known and isinstance(payload, dict) and isinstance(task, dict) else None
    return CallbackHint(known, read_task_id(read_object(task).get("task_id")), state)


def _read_trouble(reply: HttpReply, answer: dict[str, Json]) -> LookUpOutcome:
    envelope = read_envelope(answer)
    reason = envelope.reason if envelope else None
    if reason == TASK_UNKNOWN and reply.status < 500:
        return TaskNotFound()
    # Any other 404 is a retired endpoint's or a gateway's, and says nothing about the task.
    if envelope is not None and envelope.reason is None and envelope.code == V2_TASK_UNKNOWN and reply.status < 500:
        return TaskNotFound()
    named = f" {reason}" if reason in REASONS else ""
    missing = " without a task" if 200 <= reply.status < 300 else ""
    return LookUpUnavailable(f"HTTP {reply.status}{named}{missing}", read_retry_after(reply.headers))


def _read_state(answer: dict[str, Json]) -> State:
    task = answer["task"]
    status = task.get("status") if isinstance(task.get("status"), str) else None
    if status in SUCCEEDED:
        return Succeeded(status, tuple(_read_sources(answer)))
    if status in FAILED:
        return Failed(status, describe_failure(status, task.get("reason")))
    return StillRunning(show_code(status), _read_progress(task.get("progress_percent")))


def _read_progress(value: Json) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(max(0, min(100, value)))


def _read_sources(answer: dict[str, Json]) -> Iterator[Source]:
    index = 0
    for kind in KINDS:
        listed = answer.get(f"{kind}s")
        for item in listed[:MOST_ITEMS] if isinstance(listed, list) else []:
            source = _read_source(index, kind, read_object(item))
            if source is not None:
                yield source
                index += 1


def _read_source(index: int, kind: OutputKind, item: dict[str, Json]) -> Source | None:
    url = read_url(item.get(f"{kind}_url"))
    if url is None:
        return None
    return Source(
        index=index,
        kind=kind,
        url=url,
        ttl_seconds=_read_ttl(item.get(f"{kind}_url_ttl")),
        claimed_type=show_code(item.get(f"{kind}_type")),
        nsfw=_read_nsfw(item.get("nsfw_detection_result")),
    )


def _read_ttl(value: Json) -> int | None:
    """Read seconds: documented as an integer, shown as the text "3600" in most examples."""
    if isinstance(value, str):
        value = int(value) if value.isascii() and value.isdigit() and len(value) < 11 else None
    elif isinstance(value, float):
        value = int(value)
    seconds = read_integer(value)
    return seconds if seconds is not None and 0 < seconds <= LONGEST_TTL else None


def _read_nsfw(value: Json) -> dict[str, Json] | None:
    """Keep what can be shown of `{"valid", "confidence"}`; absent, null and {} come too, none of it is documented.

    `valid` says that the detection ran, not that the image is clean.
    """
    kept = {name: part for name, part in list(read_object(value).items())[:NSFW_ENTRIES] if _is_plain(name, part)}
    return kept or None


def _is_plain(name: str, part: Json) -> bool:
    if show_code(name) != name:
        return False
    if isinstance(part, str):
        return show_code(part) == part
    if isinstance(part, int | float):
        return math.isfinite(part) if isinstance(part, float) else abs(part) < 2**53
    return part is None


def _read_echo(answer: dict[str, Json]) -> str | None:
    """Read the callback URL that Novita echoes: a secret, and the proof that the task is the job's own."""
    url = read_text(read_object(read_object(answer.get("extra")).get("webhook")).get("url"))
    # Ours is ASCII; anything else could not even be compared in constant time.
    return url if url is not None and url.isascii() else None
