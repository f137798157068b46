"""Reading JSON and words from strangers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.providers.replies import NotJson, read_json, read_url, show_words

from .arbitrary import QUICK, as_bytes, json_values


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
