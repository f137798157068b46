"""The menu of faults: how markers are read, and that every fault is shown by a test."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from service.sandbox.faults import ALWAYS, FAULTS, BadFault, read_faults, strip_faults
from tests.sandbox.conftest import World

SHOWN_BY = {"not_found", "lookup_500", "lookup_429", "queued", "unknown_status"}  # parametrized tests


def test_every_fault_has_a_test() -> None:
    here = Path(__file__)
    source = "".join(file.read_text() for file in here.parent.glob("test_*.py") if file != here)
    markers = ",".join(re.findall(r"\[fault:([^\]{}]+)\]", source))
    shown = {marker.partition("=")[0].strip() for marker in markers.split(",")}

    assert set(FAULTS) - shown - SHOWN_BY == set()
    assert all(f'"{name}"' in source for name in SHOWN_BY)


async def test_the_menu_is_shown(world: World) -> None:
    menu = (await world.http.get("/_sandbox/faults")).json()

    assert menu == {name: fault.sentence for name, fault in FAULTS.items()}


@pytest.mark.parametrize(
    ("prompt", "values"),
    [
        ("a lighthouse", {}),
        ("a lighthouse [fault:lost]", {"lost": 0}),
        ("[fault:slow=2.5] a lighthouse [fault:lost]", {"slow": 2.5, "lost": 0}),
        ("[fault:429=2, retry_after=7]", {"429": 2, "retry_after": 7}),
        ("[fault:429=2 retry_after=7]", {"429": 2, "retry_after": 7}),
        ("[fault:truncated] [fault:slow]", {"truncated": ALWAYS, "slow": 2}),
    ],
)
def test_markers_are_read(prompt: str, values: dict[str, float]) -> None:
    assert read_faults(prompt).values == values


@pytest.mark.parametrize("marker", ["lots", "slow=soon", "slow=-1", "slow=inf", "slow=nan", "lost=1", "slow="])
def test_a_marker_that_is_not_on_the_menu_is_an_error(marker: str) -> None:
    with pytest.raises(BadFault, match="/_sandbox/faults"):
        read_faults(f"a lighthouse [fault:{marker}]")


async def test_such_a_marker_is_refused_by_the_submit(world: World) -> None:
    answer = await world.submit("[fault:" + "lots]")

    assert (answer.status_code, answer.json()["reason"]) == (400, "INVALID_REQUEST_BODY")


def test_the_picture_is_drawn_without_the_markers() -> None:
    assert strip_faults("a lighthouse [fault:slow=2] at dawn [fault:lost]") == "a lighthouse at dawn"
