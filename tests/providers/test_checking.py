"""Checking documents other than a provider's `input`."""

from __future__ import annotations

from pydantic import with_config
from typing_extensions import TypedDict

from service.providers.checking import STRICT, InputCheck
from service.providers.contract import Mistake


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
