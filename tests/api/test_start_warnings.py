"""What the service says when it starts with settings that work, but not well."""

from __future__ import annotations

import pytest

from config.loading import load_settings
from service.app import running_service
from tests.world import World

PARTS = {"GENRELAY_OUTPUTS__PART_BYTES": str(5 * 2**20), "GENRELAY_OUTPUTS__PARTS_IN_FLIGHT": "2"}


@pytest.mark.parametrize(
    ("memory", "whole", "least"),
    [
        (15 * 2**20, 2**20, None),
        (15 * 2**20 - 1, 2**20, 15 * 2**20),
        (20 * 2**20, 20 * 2**20, None),
        (20 * 2**20 - 1, 20 * 2**20, 20 * 2**20),
    ],
)
async def test_less_memory_than_one_file_may_take_is_told_with_the_least(
    world: World, capsys: pytest.CaptureFixture[str], memory: int, whole: int, least: int | None
) -> None:
    given = {
        **world.settings,
        **PARTS,
        "GENRELAY_OUTPUTS__MEMORY_BYTES": str(memory),
        "GENRELAY_OUTPUTS__WHOLE_BYTES": str(whole),
    }
    capsys.readouterr()
    async with running_service(load_settings(given), "api"):
        captured = capsys.readouterr()
    said = [line for line in (captured.out + captured.err).splitlines() if "service.little_memory" in line]
    assert len(said) == (least is not None)
    if least is not None:
        assert str(least) in said[0]
        assert all(f"GENRELAY_OUTPUTS__{name}" in said[0] for name in ("MEMORY_BYTES", "PART_BYTES", "WHOLE_BYTES"))
