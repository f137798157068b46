"""Running the real `genrelay`, as a shell would."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.world import API_KEY, World

GENRELAY = Path(sys.executable).with_name("genrelay")
SECONDS = 30


@dataclass(frozen=True)
class Ran:
    """How a command ended and what it printed."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Return standard output, which must be one JSON document."""
        return json.loads(self.out)


def clean_environment(**more: str) -> dict[str, str]:
    """Return this process's environment without what would configure a command, plus `more`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GENRELAY_", "AWS_"))}
    return {**kept, **more}


async def start(*arguments: str, environment: Mapping[str, str]) -> asyncio.subprocess.Process:
    """Start a command whose standard streams the test reads itself."""
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(
        str(GENRELAY), *arguments, env=environment, stdin=pipe, stdout=pipe, stderr=pipe
    )


async def run(*arguments: str, environment: Mapping[str, str], given: str = "") -> Ran:
    """Run a command to its end; `given` is its standard input. Nothing it prints may be a traceback."""
    process = await start(*arguments, environment=environment)
    async with asyncio.timeout(SECONDS):
        out, err = await process.communicate(given.encode())
    assert process.returncode is not None
    ran = Ran(process.returncode, out.decode(), err.decode())
    assert "Traceback" not in ran.err, ran.err
    return ran


@dataclass(frozen=True)
class CommandLine:
    """The command line of one account of a world."""

    world: World
    key: str = API_KEY

    @property
    def environment(self) -> dict[str, str]:
        """Return what a client's shell has set."""
        return clean_environment(GENRELAY_URL=self.world.url, GENRELAY_API_KEY=self.key)

    async def __call__(self, *arguments: str, given: str = "") -> Ran:
        """Run a command as a client."""
        return await run(*arguments, environment=self.environment, given=given)

    async def json(self, *arguments: str, given: str = "") -> Any:
        """Return what a command that succeeds prints with --json."""
        ran = await self(*arguments, "--json", given=given)
        assert ran.status == 0, ran.err
        return ran.json

    async def operate(self, *arguments: str) -> Ran:
        """Run a command as the operator, with the service's own settings."""
        return await run(*arguments, environment=clean_environment(**self.world.settings))
