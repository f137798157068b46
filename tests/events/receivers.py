"""The receivers of docs/receiving.md, as processes of their own."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import httpx

from tests.world import free_port

FOLDER = Path(__file__).parents[2] / "examples" / "receivers"
_BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class RunningReceiver:
    """A receiver that listens; `url` is where it wants deliveries."""

    url: str
    database: Path

    def inbox(self) -> list[str]:
        """Return the ids of the events that it has taken."""
        return [row[0] for row in self._rows("SELECT id FROM inbox ORDER BY rowid")]

    def jobs(self) -> dict[str, tuple[int, str]]:
        """Return number and status of the newest event of each job."""
        return {row[0]: (row[1], row[2]) for row in self._rows("SELECT id, sequence, status FROM jobs")}

    def _rows(self, query: str) -> list[tuple[str, int, str]]:
        with contextlib.closing(sqlite3.connect(self.database)) as db:
            return db.execute(query).fetchall()


@contextlib.asynccontextmanager
async def running_receiver(file: str, secret: str, folder: Path) -> AsyncIterator[RunningReceiver]:
    """Run `receive.py` or `receive.ts` as it stands in the docs, as long as the block."""
    command = [sys.executable, str(FOLDER / file)] if file.endswith(".py") else await asyncio.to_thread(_node, file)
    port, database = free_port(), folder / f"{file}.db"
    environment = {"PATH": os.environ["PATH"], "WEBHOOK_SECRET": secret, "PORT": str(port), "DATABASE": str(database)}
    log = (folder / f"{file}.log").open("wb")
    process = await asyncio.create_subprocess_exec(*command, env=environment, stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{port}"
        await _until_it_listens(url, process, folder / f"{file}.log")
        yield RunningReceiver(f"{url}/hooks", database)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        log.close()


async def _until_it_listens(url: str, process: asyncio.subprocess.Process, log: Path) -> None:
    async with httpx.AsyncClient(trust_env=False) as http, asyncio.timeout(60):
        while True:
            with contextlib.suppress(httpx.TransportError):
                assert (await http.get(f"{url}/nothing")).status_code == 404
                return
            assert process.returncode is None, log.read_text()  # noqa: ASYNC240 - nothing else runs any more
            await asyncio.sleep(0.02)


def _node(file: str) -> list[str]:
    return [str(_BIN / "node"), str(_installed() / file)]


@cache
def _installed() -> Path:
    """Install what `package-lock.json` names, as a reader would: once per process."""
    folder = Path(tempfile.mkdtemp(prefix="genrelay-receivers-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for name in ("package.json", "package-lock.json", "receive.ts"):
        shutil.copy(FOLDER / name, folder / name)
    environment = {**os.environ, "PATH": f"{_BIN}{os.pathsep}{os.environ['PATH']}"}
    command = [str(_BIN / "npm"), "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder
