"""The release before this one, out of its wheel: its processes run beside ours."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
import zipfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx

from tests.cli.command import clean_environment

FOLDER = Path(__file__).parent
_IMPORTED = """
import json, sys
import config.settings, handlers.app, service.app, service.cli, service.serving
import importlib.metadata
ours = [m.__file__ for name, m in sys.modules.items() if name.partition(".")[0] in {"config", "handlers", "service"}]
print(json.dumps([importlib.metadata.version("genrelay"), [file for file in ours if file]]))
"""
_STATEMENTS = """
import json
from service.db.sql import queries
names = [name for name in queries().available_queries if not name.endswith("_cursor")]
print(json.dumps({name: getattr(queries(), name).sql for name in names}))
"""


class VersionBefore:
    """An unpacked wheel."""

    def __init__(self, folder: Path) -> None:
        [wheel] = FOLDER.glob("genrelay-*.whl")
        self.version = wheel.name.split("-")[1]
        self.folder = folder
        with zipfile.ZipFile(wheel) as packed:
            packed.extractall(folder)

    def environment(self, **more: str) -> dict[str, str]:
        """Return an environment in which Python finds the old code before ours."""
        return clean_environment(PYTHONPATH=str(self.folder), **more)

    async def imported(self) -> tuple[str, list[Path]]:
        """Return which version runs, and the files that its packages are imported from."""
        version, files = await self._say(_IMPORTED)
        return version, [Path(file) for file in files]

    async def statements(self) -> dict[str, str]:
        """Return its named queries, as it prepares them."""
        return await self._say(_STATEMENTS)  # type: ignore[no-any-return]

    async def _say(self, program: str) -> Any:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, env=self.environment(), cwd=self.folder, stdout=asyncio.subprocess.PIPE
        )
        out, _ = await process.communicate()
        return json.loads(out)

    async def run(self, *command: str, **settings: str) -> None:
        """Run one of its commands to its end; it has to succeed."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "service.cli", *command, env=self.environment(**settings), cwd=self.folder,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        out, _ = await process.communicate()
        assert process.returncode == 0, out.decode()

    @contextlib.asynccontextmanager
    async def process(self, role: str, environment: Mapping[str, str], log: Path) -> AsyncIterator[OldProcess]:
        """Run one of its processes as long as the block, or until it ends."""
        process = OldProcess(self, role, environment, log)
        try:
            await process.start()
            yield process
        finally:
            await process.kill()


class OldProcess:
    """`genrelay serve` of the version before; the same to a test as `tests.processes.Process`."""

    def __init__(self, version: VersionBefore, role: str, environment: Mapping[str, str], log: Path) -> None:
        self.environment, self.log = dict(environment), log
        self._version, self._role = version, role
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        """Return where it listens."""
        return f"http://127.0.0.1:{self.environment['GENRELAY_PORT']}"

    @property
    def alive(self) -> bool:
        """Whether it has not ended."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Start it and return once it is ready."""
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "service.cli", "serve", "--role", self._role, cwd=self._version.folder,
                env=self._version.environment(**self.environment), stdout=log, stderr=log,
            )  # fmt: skip
        async with httpx.AsyncClient(trust_env=False, timeout=5) as http, asyncio.timeout(40):
            while not await _is_ready(http, self.url):
                assert self.alive, self.tail()
                await asyncio.sleep(0.02)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    async def ended(self, seconds: float = 30) -> int:
        """Return its exit status once it has ended, negative for a signal."""
        assert self._process is not None
        async with asyncio.timeout(seconds):
            return await self._process.wait()

    async def kill(self) -> None:
        """End it for certain; nothing to do when it has ended."""
        if self.alive:
            self.send(signal.SIGKILL)
            await self.ended()

    def tail(self, lines: int = 30) -> str:
        """Return the end of its log."""
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


async def _is_ready(http: httpx.AsyncClient, url: str) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return (await http.get(f"{url}/readyz")).status_code == 200
    return False
