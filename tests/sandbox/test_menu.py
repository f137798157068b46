"""The menu of faults: how markers are read, and that every fault is shown by a test."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from service.sandbox.faults import ALWAYS, FAULTS, BadFault, Speaker, read_faults, strip_faults
from tests.sandbox.conftest import World

# Where the faults of each provider are shown.
SHOWN_IN: dict[Speaker, tuple[str, ...]] = {
    "novita": ("test_submit_faults", "test_task_faults", "test_images", "test_more_endpoints"),
    "seedream": ("test_seedream", "test_shared_faults"),
    "modelslab": ("test_modelslab_faults", "test_shared_faults"),
}
# Parametrized by their bare names in test_task_faults.
BARE = {"not_found", "lookup_500", "lookup_429", "queued", "unknown_status"}


@pytest.mark.parametrize("speaker", SHOWN_IN)
def test_every_fault_has_a_test_for_every_provider_that_obeys_it(speaker: Speaker) -> None:
    here = Path(__file__).parent
    source = "".join((here / f"{name}.py").read_text() for name in SHOWN_IN[speaker])
    markers = ",".join(re.findall(r"\[fault:([^\]{}]+)\]", source))
    shown = {marker.partition("=")[0].strip() for marker in markers.split(",")}
    if speaker == "novita":
        shown |= {name for name in BARE if f'"{name}"' in source}

    assert shown == {name for name, fault in FAULTS.items() if speaker in fault.obeyed_by}


async def test_the_menu_is_shown(world: World) -> None:
    menu = (await world.http.get("/_sandbox/faults")).json()

    assert menu["429"]["default"] == 1
    assert menu["truncated"]["default"] == "always"
    assert menu["v2_envelope"]["providers"] == ["novita"]
    assert {name: line["does"] for name, line in menu.items()} == {name: it.sentence for name, it in FAULTS.items()}


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
    assert read_faults(prompt, "novita").values == values


@pytest.mark.parametrize(
    "marker", ["lots", "slow=soon", "slow=-1", "slow=inf", "slow=nan", "lost=1", "slow=", "id_" + "null"]
)
def test_a_marker_that_is_not_on_the_menu_is_an_error(marker: str) -> None:
    with pytest.raises(BadFault, match="/_sandbox/faults"):
        read_faults(f"a lighthouse [fault:{marker}]", "novita")


async def test_such_a_marker_is_refused_by_the_submit(world: World) -> None:
    answer = await world.submit("[fault:" + "lots]")

    assert (answer.status_code, answer.json()["reason"]) == (400, "INVALID_REQUEST_BODY")


def test_the_picture_is_drawn_without_the_markers() -> None:
    assert strip_faults("a lighthouse [fault:slow=2] at dawn [fault:lost]") == "a lighthouse at dawn"
