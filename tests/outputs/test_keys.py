"""Keys of outputs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.outputs.keys import check_path, object_key


@pytest.mark.parametrize(
    ("path", "save_directly", "key"),
    [
        ("renders", False, "renders/job_1/00.jpeg"),
        ("/renders/", False, "renders/job_1/00.jpeg"),
        ("//a///b//", False, "a/b/job_1/00.jpeg"),
        ("", False, "job_1/00.jpeg"),
        ("/", False, "job_1/00.jpeg"),
        ("renders", True, "renders/job_1-00.jpeg"),
        ("", True, "job_1-00.jpeg"),
        ("///", True, "job_1-00.jpeg"),
    ],
)
def test_key_follows_path_and_setting(path: str, save_directly: bool, key: str) -> None:
    assert object_key(path, "job_1", 0, "jpeg", save_directly=save_directly) == key


def test_index_has_two_digits_or_more() -> None:
    assert object_key("", "job_1", 7, "png", save_directly=False) == "job_1/07.png"
    assert object_key("", "job_1", 123, "png", save_directly=True) == "job_1-123.png"


@given(st.text(), st.booleans())
def test_key_never_begins_with_a_slash_or_holds_an_empty_segment(path: str, save_directly: bool) -> None:
    key = object_key(path, "job_1", 0, "png", save_directly=save_directly)
    assert all(key.split("/"))


@pytest.mark.parametrize(
    "path",
    [
        "..",
        "a/../b",
        "../a",
        "./a",
        "a\x00b",
        "a\nb",
        "a\x7f",
        "a\x85",
        "\ud800",
        "a" * 513,
        "ü" * 257,
        "genrelay-probe-",
        "a//genrelay-probe-x/b",
    ],
)
def test_path_that_breaks_a_rule_is_told_which(path: str) -> None:
    rule = check_path(path)
    assert rule is not None
    assert rule.startswith("must")


@pytest.mark.parametrize(
    "path", ["", "/", "a", "/a//b/", "a..b", "...", "ü" * 256, "a b", "日本", "genrelay-probe", "a-genrelay-probe-b"]
)
def test_usual_path_breaks_no_rule(path: str) -> None:
    assert check_path(path) is None
