"""Reading what comes back from providers: JSON from strangers, task ids, waiting times, and words fit to be shown.

Nothing in here trusts its input, and nothing raises anything but `NotJson`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from service.providers.contract import HttpReply, Json

SHOWN_CHARACTERS = 500
CODE_CHARACTERS = 100
URL_CHARACTERS = 8192
# Of a list of outputs so many are looked at: no provider makes more at a time, and each one costs us work.
MOST_ITEMS = 64
TASK_ID = re.compile(r"[!-~]{1,128}")
URL = re.compile(r"https?://[^\s\"'<>]+", re.IGNORECASE)
# What our keys look like at the providers, should one echo them.
KEY = re.compile(r"\bsk[_-][\w-]{8,}|\bBearer\s+\S+", re.IGNORECASE)
SECONDS = re.compile(r"[0-9]{1,18}(\.[0-9]{1,18})?")
MOST_SECONDS = 1_000_000.0
DATE_CHARACTERS = 64  # the longest of HTTP's three forms has 33


class NotJson(ValueError):  # noqa: N818 - a verdict more than an error
    """The bytes are not JSON that we can hold; the message says why, without quoting them."""


def read_json(body: bytes) -> Json:
    """Return the value of a UTF-8 JSON document; raises NotJson and nothing else.

    NaN, Infinity and numbers beyond a double are refused, so is nesting beyond the interpreter's depth. Of a
    duplicate key the last one counts.
    """
    try:
        return json.loads(body.decode("utf-8-sig"), parse_constant=_refuse_constant, parse_float=_read_float)
    except UnicodeDecodeError:
        raise NotJson("not UTF-8") from None
    except RecursionError:
        raise NotJson("nested too deeply") from None
    except NotJson:
        raise
    except ValueError:  # no JSON, or an integer of more digits than Python converts
        raise NotJson("not JSON") from None


def read_reply_json(reply: HttpReply) -> Json:
    """Return the JSON of a reply's body, None when it is none (`null` is as good as none to every reader)."""
    try:
        return read_json(reply.body)
    except NotJson:
        return None


def read_object(value: Json) -> dict[str, Json]:
    """Return the value when it is a JSON object, else an empty one, so that reading on finds nothing."""
    return value if isinstance(value, dict) else {}


def read_integer(value: Json) -> int | None:
    """Return the value when it is a JSON integer, else None (`true` is no integer)."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def read_text(value: Json) -> str | None:
    """Return the value when it is text with something in it, else None."""
    return value if isinstance(value, str) and value.strip() else None


def read_task_id(value: Json) -> str | None:
    """Return a task id as text: 1 to 128 visible ASCII characters that mean nothing inside a URL, else None."""
    integer = read_integer(value)
    if integer is not None:
        # A signed 64-bit number has 19 digits; text of longer ones may not even exist.
        return str(integer) if abs(integer) < 2**63 else None
    if not isinstance(value, str) or not TASK_ID.fullmatch(value) or any(c in value for c in "/?#&"):
        return None
    return value


def read_url(value: Json) -> str | None:
    """Return an absolute http(s) URL as it is, None for anything else."""
    if not isinstance(value, str) or not 8 < len(value) <= URL_CHARACTERS:
        return None
    # Lone surrogates and control characters are not printable.
    if not value.isprintable() or " " in value:
        return None
    return value if _read_host(value) else None


def read_retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of a `Retry-After` header, a million at most; None when there is none that can be read.

    A date counts from the answer's own `Date`, without which it says nothing: there is no clock here, and the provider's
    may be wrong by as much in both. One that has passed is 0.
    """
    said = headers.get("retry-after", "").strip()
    if SECONDS.fullmatch(said):
        return min(float(said), MOST_SECONDS)
    until, now = _read_date(said), _read_date(headers.get("date", ""))
    if until is None or now is None:
        return None
    return min(max(0.0, (until - now).total_seconds()), MOST_SECONDS)


def show_words(value: Json, limit: int = SHOWN_CHARACTERS) -> str | None:
    """Return a provider's own words fit to be stored and shown, None when there are none.

    At most `limit` characters on one line; of URLs only the origin, for ours carry callback tokens and theirs carry
    signatures; no keys.
    """
    text = read_text(value)
    if text is None:
        return None
    # Twice the limit first, so that a megabyte is not searched for the sake of its first line.
    text = KEY.sub("…", URL.sub(_show_origin, text[: 2 * limit]))
    text = " ".join("".join(c if c.isprintable() or c.isspace() else "\ufffd" for c in text).split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


def show_code(value: Json) -> str | None:
    """Return a provider's own code (an error's name, a status) fit to be stored and shown."""
    return show_words(value, CODE_CHARACTERS)


def _read_date(said: str) -> datetime | None:
    """Read a date of HTTP, in any of its three forms; all of them are meant in GMT."""
    try:
        read = parsedate_to_datetime(said) if len(said) <= DATE_CHARACTERS else None
    except (ValueError, OverflowError, TypeError, IndexError):  # whatever e-mail's parser makes of strangers' words
        return None
    return read.replace(tzinfo=UTC) if read and read.tzinfo is None else read


def _show_origin(match: re.Match[str]) -> str:
    host = _read_host(match[0])
    return f"{match[0].split(':')[0].lower()}://{host}/…" if host else "…"


def _read_host(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        sound = parts.scheme in {"http", "https"} and parts.port != 0  # a port out of range raises when it is asked for
    except ValueError:
        return None
    return parts.hostname if sound else None


def _refuse_constant(name: str) -> float:
    raise NotJson(f"{name.lstrip('-')} is not JSON")


def _read_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise NotJson("a number too large")
    return value
