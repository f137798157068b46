"""Checking documents other than a provider's `input`."""

from __future__ import annotations

import difflib
import math
import tracemalloc
from typing import Any

import pytest
from pydantic import with_config
from typing_extensions import TypedDict

from service.providers.checking import MISTAKES_TOLD, STRICT, InputCheck
from service.providers.contract import Json, Mistake


@with_config(STRICT)
class Order(TypedDict):
    lamps: int


def test_paths_of_a_whole_body_begin_with_its_own_fields() -> None:
    check = InputCheck(Order, root="")
    assert check.find_mistakes({"lamps": "3", "lamp": 1}) == [
        Mistake("lamps", "must be an integer", '"3"'),
        Mistake("lamp", "unknown field; did you mean `lamps`?"),
    ]


def test_whole_body_that_is_no_object_is_called_body() -> None:
    assert InputCheck(Order, root="").find_mistakes([]) == [Mistake("body", "must be an object", "a list of 0 items")]


def test_suggestions_are_looked_for_only_in_what_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = []
    find = difflib.get_close_matches

    def counted(word: str, *rest: Any, **more: Any) -> list[str]:
        looked.append(word)
        return find(word, *rest, **more)

    monkeypatch.setattr(difflib, "get_close_matches", counted)
    mistakes = InputCheck(Order).find_mistakes({"lamps": 3} | {f"lamp{number}": 1 for number in range(9_900)})
    assert len(mistakes) == MISTAKES_TOLD + 1
    assert mistakes[0] == Mistake("input.lamp0", "unknown field; did you mean `lamps`?")
    assert mistakes[-1] == Mistake("input", "and 9800 more mistakes")
    assert len(looked) == MISTAKES_TOLD


def test_a_place_with_several_mistakes_is_told_and_counted_once() -> None:
    given: dict[str, Json] = {f"{number}\0": 10**30 for number in range(MISTAKES_TOLD + 50)}
    mistakes = InputCheck(Order).find_mistakes(given)
    assert mistakes[0] == Mistake("input.0\ufffd", "must not contain NUL characters")
    # The fields, and `lamps`, which is missing.
    assert mistakes[-1] == Mistake("input", "and 51 more mistakes")


def test_only_the_shown_start_of_a_long_name_is_worked_on() -> None:
    given: dict[str, Json] = {"\u00e9" * 2**20: {"a": math.nan}}
    check = InputCheck(Order)
    tracemalloc.start()
    try:
        mistakes = check.find_mistakes(given)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert mistakes[0].path == "input." + "\u00e9" * 63 + "\u2026.a"
    assert peak < 8 * 2**20  # a list of its characters alone takes as much
