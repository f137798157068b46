"""Reading JSON and words from strangers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.providers.replies import NotJson, read_json, read_retry_after, read_url, show_words

from .arbitrary import QUICK, answer_headers, as_bytes, json_values


@QUICK
@given(body=st.binary(max_size=300) | json_values(["a", "b"]).map(as_bytes))
def test_bytes_are_json_or_not_and_nothing_else(body: bytes) -> None:
    try:
        value = read_json(body)
    except NotJson:
        return
    json.dumps(value, allow_nan=False)


def test_byte_order_mark_is_forgiven() -> None:
    assert read_json(b'\xef\xbb\xbf{"a": 1}') == {"a": 1}


WORDS = [
    (None, None),
    ("", None),
    (" \n ", None),
    (5, None),
    ("plain words", "plain words"),
    ("two\nlines\tand a tab", "two lines and a tab"),
    ("größe 🙂", "größe 🙂"),
    ("\0\x1b[31m\ud800", "\ufffd\ufffd[31m\ufffd"),
    ("see https://user:pw@x.example:8443/a/b?token=c#d!", "see https://x.example/…"),
    ("see HTTP://X.example/a", "see http://x.example/…"),
    ("see https://[broken", "see …"),
    ("Authorization: Bearer abc.def", "Authorization: …"),
    ("key sk_live_12345678 is wrong", "key … is wrong"),
    ("x" * 500, "x" * 500),
    ("x" * 501, "x" * 499 + "…"),
]


@pytest.mark.parametrize(("said", "shown"), WORDS)
def test_words_are_shown_without_secrets(said: Any, shown: str | None) -> None:
    assert show_words(said) == shown


@QUICK
@given(text=st.text(st.characters(exclude_categories=())))
def test_shown_words_can_be_stored(text: str) -> None:
    shown = show_words(text)
    assert shown is None or "\0" not in shown.encode().decode()


@pytest.mark.parametrize(
    "url", ["http://x.example", "https://x.example:8443/a?b=c#d", "https://[::1]/", "https://ä.example/ü"]
)
def test_http_url_is_read_as_it_is(url: str) -> None:
    assert read_url(url) == url


@pytest.mark.parametrize(
    "url", ["https://x.example/\0", "https://x.example/\ud800", "https://x.example/\n", "https://x.example/\t"]
)
def test_url_that_cannot_be_stored_or_sent_is_none(url: str) -> None:
    assert read_url(url) is None


NOW = "Wed, 21 Oct 2026 07:28:00 GMT"
TIMES = [
    ("Wed, 21 Oct 2026 07:28:30 GMT", 30.0),
    ("Wednesday, 21-Oct-26 07:29:00 GMT", 60.0),
    ("Wed Oct 21 07:29:00 2026", 60.0),
    ("Wed, 21 Oct 2026 07:28:30 -0000", 30.0),
    ("Wed, 21 Oct 2026 08:28:30 +0100", 30.0),
    (" Wed, 21 Oct 2026 07:28:30 GMT ", 30.0),
    ("Thu, 22 Oct 2026 07:28:00 GMT", 86400.0),
    (NOW, 0.0),
    ("Wed, 21 Oct 2026 07:27:59 GMT", 0.0),
    ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
    ("Sun, 01 Nov 2026 21:14:39 GMT", 999_999.0),
    ("Sun, 01 Nov 2026 21:14:41 GMT", 1_000_000.0),
    ("Fri, 31 Dec 9999 23:59:59 GMT", 1_000_000.0),
    ("Wed, 32 Oct 2026 07:28:30 GMT", None),
    ("Wed, 21 Oct 2026 07:28:30 +999999999999", None),
    ("Wed, 21 Oct 2026 07:28:30 GMT" + " " * 64 + "x", None),
    ("tomorrow", None),
]


@pytest.mark.parametrize(("said", "seconds"), TIMES)
def test_a_date_to_retry_after_counts_from_the_answers_own_date(said: str, seconds: float | None) -> None:
    assert read_retry_after({"retry-after": said, "date": NOW}) == seconds


@pytest.mark.parametrize("headers", [{}, {"date": ""}, {"date": "today"}, {"date": "30"}])
def test_a_date_to_retry_after_says_nothing_without_the_answers_own(headers: dict[str, str]) -> None:
    assert read_retry_after({"retry-after": NOW, **headers}) is None


def test_more_seconds_are_never_obeyed_less() -> None:
    waits = [read_retry_after({"retry-after": said}) for said in ("0", "2.5", "3600", "999999", "1000000", "31536000")]
    assert waits == [0.0, 2.5, 3600.0, 999_999.0, 1_000_000.0, 1_000_000.0]


def test_seconds_to_retry_after_need_no_date() -> None:
    assert [read_retry_after({"retry-after": "7", "date": date}) for date in ("", NOW, "today")] == [7.0] * 3
    assert read_retry_after({"date": NOW}) is None


@QUICK
@given(headers=answer_headers())
def test_whatever_the_headers_say_a_wait_is_a_number_up_to_a_million_or_none(headers: dict[str, str]) -> None:
    seconds = read_retry_after(headers)
    assert seconds is None or 0 <= seconds <= 1_000_000
