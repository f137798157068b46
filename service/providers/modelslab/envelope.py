"""ModelsLab's one envelope, `{status, id, output, message, …}`: what submits, look-ups and callbacks have in common.

https://docs.modelslab.com/error-codes
https://docs.modelslab.com/webhooks
checked 2026-09

Nothing in it has one type only. `id` is an integer, text, null or ""; `output` a list, "" or null; `message` may be spelled
`messege`, and be an object; HTTP 200 carries errors too, so `status` is what counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from service.providers.contract import HttpReply, Json
from service.providers.replies import (
    SECONDS,
    read_object,
    read_reply_json,
    read_retry_after,
    read_task_id,
    read_text,
    read_url,
    show_code,
    show_words,
)

SUCCEEDED = frozenset({"success", "ready"})  # the second one is seen in clients' handlers only
FAILED = frozenset({"failed", "error"})
LONGEST_WAIT = 3600.0
WORDS = 10  # parts of a message that is an object or a list
FETCH_RESULT = re.compile(r"/fetch/((?=[A-Za-z_-]*[0-9])[A-Za-z0-9_-]{1,128})/?\Z")
WAIT = re.compile(r"\bwait (?:for )?([0-9]{1,5})\s*s", re.IGNORECASE)
# Their keys look like nothing in particular, only long: an answer may quote the one that it refuses.
KEY = re.compile(r"[A-Za-z0-9]{32,}")


@dataclass(frozen=True, slots=True)
class Envelope:
    """An answer that ModelsLab wrote.

    status: lower case, None when missing. task_id: as text. words: its message, fit to be stored and shown.
    """

    status: str | None
    task_id: str | None
    words: str | None
    said: dict[str, Json] = field(repr=False)

    @property
    def shown_status(self) -> str | None:
        """Return the status fit to be stored and shown."""
        return show_code(self.status)


def read_envelope(value: Json) -> Envelope:
    """Return the envelope that a JSON value is; of a value that is none, an empty one."""
    said = read_object(value)
    status = read_text(said.get("status"))
    return Envelope(status.strip().lower() if status else None, _read_id(said), _read_words(said), said)


def read_reply(reply: HttpReply) -> Envelope:
    """Return the envelope of an HTTP answer."""
    return read_envelope(read_reply_json(reply))


def read_wait(reply: HttpReply, envelope: Envelope) -> float | None:
    """Return for how many seconds to wait, at most an hour: out of the body, else the header, else the words."""
    said = envelope.said.get("retry_after")
    if isinstance(said, str) and SECONDS.fullmatch(said.strip()):
        said = float(said)
    if not isinstance(said, bool) and isinstance(said, int | float) and said >= 0:
        return float(min(said, LONGEST_WAIT))
    seconds = read_retry_after(reply.headers)
    if seconds is None:
        seconds = next((float(found[1]) for text in _texts(envelope.said) if (found := WAIT.search(text))), None)
    return None if seconds is None else min(seconds, LONGEST_WAIT)


def names_task(envelope: Envelope, task_id: str) -> bool:
    """Tell whether an answer carries the id that was asked about; `request_id` is only what the question itself said."""
    return _read_one_id(envelope.said.get("id")) == task_id


def names_other_task(envelope: Envelope, task_id: str) -> bool:
    """Tell whether an answer carries an id other than the one that was asked about."""
    said = envelope.said.get("id")
    return said not in (None, "") and _read_one_id(said) != task_id


def read_echo(envelope: Envelope) -> str | None:
    """Return the callback URL that `meta` may repeat; it rarely does."""
    url = read_url(read_object(envelope.said.get("meta")).get("webhook"))
    # Ours is ASCII; anything else could not even be compared in constant time.
    return url if url is not None and url.isascii() else None


def _read_id(said: dict[str, Json]) -> str | None:
    """Return `id`, else what clients fall back on: `request_id`, and the tail of `fetch_result` (never fetched)."""
    for name in ("id", "request_id"):
        if (task_id := _read_one_id(said.get(name))) is not None:
            return task_id
    place = read_url(said.get("fetch_result"))
    found = FETCH_RESULT.search(urlsplit(place).path) if place else None
    return found[1] if found else None


def _read_one_id(value: Json) -> str | None:
    task_id = read_task_id(value)
    # Dots alone would climb in a URL's path.
    return task_id if task_id is not None and task_id.strip(".") else None


def _read_words(said: dict[str, Json]) -> str | None:
    words = next((found for name in ("message", "messege") if (found := _flatten(said.get(name)))), None)
    return show_words(KEY.sub("…", words)) if words else None


def _flatten(value: Json) -> str | None:
    """Return a message as one text; a validation's is an object of field and list of sentences."""
    if isinstance(value, str):
        return read_text(value[:2000])
    if isinstance(value, dict):
        parts = [f"{name[:100]}: {text}" for name, part in list(value.items())[:WORDS] if (text := _flatten_list(part))]
        return "; ".join(parts) or None
    return _flatten_list(value)


def _flatten_list(value: Json) -> str | None:
    listed = value if isinstance(value, list) else [value]
    return " ".join(part[:500] for part in listed[:WORDS] if isinstance(part, str) and part.strip()) or None


def _texts(said: dict[str, Json]) -> Iterator[str]:
    """Yield the places where an answer says in words how long to wait."""
    for name in ("message", "messege", "tip", "tips", "tip_1"):
        value = said.get(name)
        if isinstance(value, str):
            yield value[:1000]
