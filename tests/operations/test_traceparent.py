"""W3C trace context is read strictly: what is malformed never becomes part of a trace."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.tracing import Traceparent, new_traceparent, read_traceparent

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
GOOD = f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize(
    ("text", "sampled"),
    [(GOOD, True), (GOOD[:-1] + "0", False), (GOOD[:-2] + "03", True), (f"cc{GOOD[2:]}-what-will-be", True)],
)
def test_a_good_one_is_read(text: str, sampled: bool) -> None:
    assert read_traceparent(text) == Traceparent(TRACE, SPAN, sampled)


@pytest.mark.parametrize(
    "text",
    [
        None, "", "00", GOOD[:-1], GOOD + "-more", GOOD + "0", "ff" + GOOD[2:], GOOD.upper(), " " + GOOD, GOOD + "\n",
        f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01", GOOD.replace("-", "_"), GOOD.replace("a", "g"),
        "cc" + GOOD[2:] + "x", "cc" + GOOD[2:] + "-" + "x" * 600, f"00-{TRACE}-{SPAN}-zz", f"00-{TRACE}-{SPAN[:-1]}٣-01",
    ],
)  # fmt: skip
def test_a_malformed_one_is_not(text: str | None) -> None:
    assert read_traceparent(text) is None


@given(st.text(max_size=80))
def test_whatever_comes_is_read_or_not_and_never_raises(text: str) -> None:
    found = read_traceparent(text)
    assert found is None or found.trace_id in text


def test_a_new_one_is_good_and_like_no_other() -> None:
    made = [new_traceparent() for _ in range(100)]
    assert [read_traceparent(str(each)) for each in made] == made
    assert len({each.trace_id for each in made}) == 100
