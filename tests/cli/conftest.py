"""The command line beside a running world."""

from __future__ import annotations

import pytest

from tests.cli.command import CommandLine
from tests.world import World


@pytest.fixture
def genrelay(world: World) -> CommandLine:
    """The `genrelay` command, as the account `default` of this test's world."""
    return CommandLine(world)
