"""Every named point at which a test can kill the process is passed somewhere, and only points that exist are named."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from service.points import POINTS, arm, reach

ROOT = Path(__file__).parents[2]
_REACH = re.compile(r"\breach\(\s*\"([a-z_.]+)\"\s*\)")


def _reached() -> list[str]:
    texts = (path.read_text(encoding="utf-8") for path in sorted((ROOT / "service").rglob("*.py")))
    return [name for text in texts for name in _REACH.findall(text)]


def test_every_point_is_passed_somewhere_and_every_passed_point_has_a_name() -> None:
    assert sorted(set(_reached())) == sorted(POINTS)


def test_every_commit_has_a_point_before_and_one_after_it() -> None:
    before = {
        name.removesuffix("_before_commit").removesuffix(".before_commit") for name in POINTS if "before_commit" in name
    }
    for name in before:
        assert f"{name}.committed" in POINTS or f"{name}_committed" in POINTS or name in POINTS


@pytest.mark.parametrize("name", ["nowhere", "submit.sent ", "SUBMIT.SENT"])
def test_a_point_that_does_not_exist_is_not_armed(name: str) -> None:
    with pytest.raises(ValueError, match="no such point"):
        arm(name)


def test_a_point_that_is_not_armed_is_passed() -> None:
    arm(None)
    for name in POINTS:
        reach(name)


def test_a_point_is_passed_until_its_count_is_reached() -> None:
    arm("submit.sent:3")
    try:
        reach("submit.sent")
        reach("submit.sent")
        reach("submit.outcome_committed")
    finally:
        arm(None)
