"""Reading query parameters: unknown ones and wrong ones are mistakes, all told at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import UUID

from starlette.requests import Request

from handlers.problems import invalid, not_found
from service.ids import BadId, read
from service.providers.contract import Mistake

T = TypeVar("T")
MAX_WAIT = 60  # seconds
_MOST_PARAMETERS = 100


class Query:
    """A request's query; `end` raises all mistakes that were found on the way."""

    def __init__(self, request: Request) -> None:
        given = request.query_params.multi_items()
        if len(given) > _MOST_PARAMETERS:
            raise invalid(Mistake("query", f"must have {_MOST_PARAMETERS} parameters at most", str(len(given))))
        self._given = dict(given)
        times = Counter(name for name, _ in given)
        self._mistakes = [Mistake(_printable(name), "given more than once") for name in times if times[name] > 1]

    def take(self, name: str, parse: Callable[[str], T], rule: str) -> T | None:
        """Return a parameter parsed, None when it is absent or wrong."""
        text = self._given.pop(name, None)
        return None if text is None else self.check(name, text, parse, rule)

    def check(self, name: str, text: str, parse: Callable[[str], T], rule: str) -> T | None:
        """Return a text parsed, None when it is wrong; for what did not come in the query, but counts as if it had."""
        try:
            return parse(text)
        except (ValueError, OverflowError):
            self._mistakes.append(Mistake(name, rule, _printable(text)))
            return None

    def take_text(self, name: str) -> str | None:
        """Return a text parameter."""
        return self.take(name, _storable, "must not hold NUL characters")

    def take_choice(self, name: str, choices: list[str]) -> str | None:
        """Return a parameter that must be one of a few."""

        def pick(text: str) -> str:
            if text not in choices:
                raise ValueError
            return text

        return self.take(name, pick, f"must be one of {', '.join(choices)}")

    def take_limit(self) -> int:
        """Return `limit`: 1 to 100, 20 when absent."""
        found = self.take("limit", lambda text: _between(text, 1, 100), "must be an integer from 1 to 100")
        return 20 if found is None else found

    def take_id(self, prefix: str) -> UUID | None:
        """Return `cursor`, which is the last id of the page before."""
        return self.take("cursor", lambda text: read(prefix, text), "must be a next_cursor of this list")

    def take_map(self, name: str) -> dict[str, str]:
        """Return every `name[key]=value`."""
        found = {}
        for given in [k for k in self._given if k.startswith(f"{name}[") and k.endswith("]") and _is_storable(k)]:
            value = self.take_text(given)
            if value is not None:
                found[given[len(name) + 1 : -1]] = value
        return found

    def end(self) -> None:
        """Raise what was wrong, unknown parameters included."""
        self._mistakes += [Mistake(_printable(name), "unknown parameter") for name in self._given]
        if self._mistakes:
            raise invalid(*self._mistakes)


def read_path_id(request: Request, what: str) -> UUID:
    """Return the id in the request's path; raises Problem 404 when it is none of this prefix."""
    try:
        return read(what, request.path_params["id"])
    except BadId:
        raise not_found(what) from None


def _between(text: str, least: int, most: int) -> int:
    # The length first: Python refuses to read endless digits, and nobody needs more than these.
    if not text.isascii() or not text.isdigit() or len(text) > 18 or not least <= int(text) <= most:
        raise ValueError
    return int(text)


def _is_storable(text: str) -> bool:
    return "\0" not in text and not any(0xD800 <= ord(c) <= 0xDFFF for c in text)


def _storable(text: str) -> str:
    if not _is_storable(text):
        raise ValueError
    return text


def read_time(text: str) -> datetime:
    """Parse RFC 3339; a time without offset is UTC, and a `+` that came as a space is one."""
    time = datetime.fromisoformat(text.replace(" ", "+"))
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)


def read_flag(text: str) -> bool:
    """Parse true or false."""
    if text not in {"true", "false"}:
        raise ValueError
    return text == "true"


def read_seconds(text: str) -> int:
    """Parse whole seconds; more than 60 are taken for 60."""
    return min(_between(text, 0, 10**9), MAX_WAIT)


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "\ufffd" for c in text[:100])


def page(rows: list[tuple[str, Any]], limit: int) -> dict[str, Any]:
    """Return a list as the API shows it; `rows` has one more than `limit` when there is a next page."""
    shown = rows[:limit]
    more = len(rows) > limit
    return {
        "data": [row for _, row in shown],
        "next_cursor": shown[-1][0] if more and shown else None,
        "has_more": more,
    }


__all__ = ["MAX_WAIT", "BadId", "Query", "page", "read_flag", "read_path_id", "read_seconds", "read_time"]
