"""What JSON can be stored and sent on: no NaN, no giant integers, no NUL, no lone surrogates, no bottomless nesting.

Python's parser lets all of these through, PostgreSQL's `jsonb` refuses most, and a provider would see something else
than was checked.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from service.providers.contract import Json

Path = tuple[int | str, ...]

MAX_DEPTH = 32
MAX_PARTS = 10_000
INTEGERS = range(-(2**63), 2**63)


def is_bloated(value: Json) -> bool:
    """Tell whether a document has more than 10,000 parts: no real one has, and each part may be worth a mistake."""
    left, waiting = MAX_PARTS, [value]
    while waiting and left >= 0:
        part = waiting.pop()
        if isinstance(part, dict | list):
            left -= len(part)
            if left >= 0:
                waiting.extend(part.values() if isinstance(part, dict) else part)
    return left < 0


def find_unstorable(value: Json, path: Path = ()) -> Iterator[tuple[Path, str, str | None]]:
    """Yield path, rule and what came for every part that can't be stored, in the document's order; never raises."""
    if len(path) > MAX_DEPTH:
        yield path, f"must not be nested deeper than {MAX_DEPTH} levels", None
    elif isinstance(value, dict):
        for name, part in value.items():
            if broken := _broken_name(name):
                yield (*path, str(name)), broken, None
            yield from _find_inside(part, path, name)
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from _find_inside(part, path, index)
    elif broken := _broken_scalar(value):
        yield path, broken, str(value) if isinstance(value, float) else None


def _find_inside(part: Json, path: Path, step: int | str) -> Iterator[tuple[Path, str, str | None]]:
    # Most parts are sound scalars: those cost no path and no generator.
    if isinstance(part, dict | list) or _broken_scalar(part):
        yield from find_unstorable(part, (*path, step))


def _broken_scalar(value: Json) -> str | None:
    match value:
        case str():
            return _broken_text(value)
        case None | bool():
            return None
        case int():
            return None if value in INTEGERS else "must fit into 64 bits"
        case float():
            return None if math.isfinite(value) else "must be a finite number"
    return "must be JSON"


def _broken_name(name: object) -> str | None:
    return _broken_text(name) if isinstance(name, str) else "must have a string as its name"


def _broken_text(text: str) -> str | None:
    if "\0" in text:
        return "must not contain NUL characters"
    if text.isascii():  # known without looking at megabytes of base64 once more
        return None
    try:
        text.encode()
    except UnicodeEncodeError:
        return "must not contain lone surrogates"
    return None
