"""Logging: one JSON line per event, and what looks like a secret is cut out wherever it comes from."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from config.logging import scrub, set_up_logging


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root, handlers, level = logging.getLogger(), logging.getLogger().handlers[:], logging.getLogger().level
    yield
    structlog.reset_defaults()
    root.handlers[:], root.level = handlers, level


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("GET https://h/x.png?X-Amz-Signature=abc&b=c failed", "GET https://h/x.png?… failed"),
        ("http://127.0.0.1/v1/callbacks/novita/eyJ_-x=", "http://127.0.0.1/v1/callbacks/novita/…"),
        ("/v1/callbacks/novita/t0ken and more", "/v1/callbacks/novita/… and more"),
        ("Authorization: Bearer sk-1", "Authorization: Bearer …"),
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_…"),
        ("signed with whsk_a/b+c== and whpk_a/b+c==", "signed with whsk_… and whpk_a/b+c=="),
        ("postgresql://user:pass@db/x", "postgresql://user:…@db/x"),
        ("nothing secret in here", "nothing secret in here"),
        ("https://h/x.png", "https://h/x.png"),
    ],
)
def test_what_looks_like_a_secret_is_cut_out(text: str, left: str) -> None:
    assert scrub(text) == left


def test_our_lines_and_the_libraries_are_json_without_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("debug", "json")
    structlog.get_logger().info("output.fetched", url="https://h/x?sig=secret", count=3)
    logging.getLogger("some.library").warning("GET %s", "https://h/x?sig=secret")
    logging.getLogger("httpx").warning("whole URLs are this one's habit")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["event"] for line in lines] == ["output.fetched", "GET https://h/x?…"]
    assert (lines[0]["url"], lines[0]["count"], lines[0]["level"]) == ("https://h/x?…", 3, "info")


def test_an_exception_is_logged_by_type_and_place_and_never_by_its_text(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("info", "json")
    try:
        int("secret-in-the-text")
    except ValueError:
        structlog.get_logger().exception("task.raised")
        logging.getLogger("some.library").exception("it broke")
    text = capsys.readouterr().err
    assert "secret-in-the-text" not in text
    for line in map(json.loads, text.splitlines()):
        assert line["exception"] == "builtins.ValueError"
        assert "test_an_exception_is_logged" in line["frames"][-1]


def test_a_quiet_level_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("error", "json")
    structlog.get_logger().info("request.handled")
    assert capsys.readouterr().err == ""
