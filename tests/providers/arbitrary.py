"""Strategies for what strangers may send: any JSON that Python's parser lets through, and any bytes."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

QUICK = settings(deadline=None, max_examples=200)
# NUL and lone surrogates included: both are legal in JSON's escapes.
texts = st.text(st.characters(exclude_categories=()), max_size=20)
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=-(10**300), max_value=10**300)
    | st.floats()
    | texts
    | st.sampled_from(["", "https://consumer.example/a?b=c", "TASK_STATUS_SUCCEED", "TASK_STATUS_FAILED", "3600"])
)


def json_values(names: list[str]) -> st.SearchStrategy[Any]:
    """Return any JSON value; its objects use the names given as often as others."""
    keys = st.sampled_from(names) | texts
    return st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=6),
        max_leaves=20,
    )


def names_in(value: Any) -> set[str]:
    """Return the name of every field anywhere inside a value."""
    if isinstance(value, dict):
        return set(value) | {name for part in value.values() for name in names_in(part)}
    return {name for part in value for name in names_in(part)} if isinstance(value, list) else set()


def as_bytes(value: Any) -> bytes:
    """Write JSON as a careless sender would: NaN and Infinity as words, surrogates as escapes."""
    return json.dumps(value).encode()


def swapped(value: Any, part: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return the value with any one of its parts exchanged for another."""

    @st.composite
    def draw_swapped(draw: st.DrawFn, whole: Any) -> Any:
        if isinstance(whole, dict | list) and whole and draw(st.integers(0, 3)):
            steps = sorted(whole) if isinstance(whole, dict) else range(len(whole))
            step = draw(st.sampled_from(list(steps)))
            copy = dict(whole) if isinstance(whole, dict) else list(whole)
            copy[step] = draw(draw_swapped(whole[step]))
            return copy
        return draw(part)

    return draw_swapped(value)


def answer_headers() -> st.SearchStrategy[dict[str, str]]:
    """Return headers of an answer: dates and seconds, and any other text in their places."""
    dates = st.datetimes().map(lambda moment: moment.strftime("%a, %d %b %Y %H:%M:%S GMT"))
    zones = st.builds("{} {}".format, st.just("Wed, 21 Oct 2026 07:28:00"), st.integers().map("{:+05d}".format))
    words = st.text(max_size=40) | st.text("0123456789 ,:-+.GMTWedOct", max_size=40) | dates | zones
    seconds = st.integers().map(str) | st.floats().map(str)
    types = st.sampled_from(["application/json", "text/html; charset=utf-8", "image/png"])
    return st.fixed_dictionaries(
        {}, optional={"retry-after": words | seconds, "date": words, "content-type": words | types}
    )
