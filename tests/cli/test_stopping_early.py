"""SIGTERM while a process starts: it ends soon, and what it has started with it, also as process 1 of a container."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import cache, partial
from pathlib import Path

import asyncpg
import pytest

from service.db.embedded import EmbeddedServer
from tests.cli.command import GENRELAY, clean_environment
from tests.world import environment, free_port, until

_SECONDS = 12.0


@cache
def as_process_1() -> tuple[str, ...]:
    """Return what makes a command process 1, which no signal reaches without a handler; nothing where we may not."""
    command = ("unshare", "--pid", "--fork", "--kill-child")
    may = shutil.which("unshare") and subprocess.run([*command, "true"], check=False, capture_output=True)
    return command if may and may.returncode == 0 else ()


@pytest.fixture
def data() -> Iterator[Path]:
    """A folder that the embedded server's own user may enter, unlike pytest's."""
    with tempfile.TemporaryDirectory(prefix="genrelay-test-", ignore_cleanup_errors=True) as folder:
        yield Path(folder) / "data"


async def start(*arguments: str, log: Path, **settings: str) -> asyncio.subprocess.Process:
    with log.open("wb") as out:
        return await asyncio.create_subprocess_exec(
            *arguments, env=clean_environment(**settings), stdout=out, stderr=subprocess.STDOUT
        )


async def child_of(pid: int) -> int:
    """Return the process that `unshare` has begun, once it is the command itself."""

    async def look() -> int:
        return find_child(pid)

    return await until(look)


def find_child(pid: int) -> int:
    [*children] = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()
    return int(children[0]) if children and b"genrelay" in Path(f"/proc/{children[0]}/cmdline").read_bytes() else 0


def hears(pid: int) -> bool:
    """Whether it has a handler for SIGTERM."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt")).split()[1]
    return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)


def imports(pid: int, what: str) -> bool:
    return what in Path(f"/proc/{pid}/maps").read_text(encoding="utf-8", errors="replace")


async def tell(process: asyncio.subprocess.Process, when: Callable[[int], bool]) -> None:
    """Send a process SIGTERM at its moment; returns once it has ended."""

    async def look() -> bool:
        return when(pid)

    pid = await child_of(process.pid) if as_process_1() else process.pid
    try:
        await until(look)
        os.kill(pid, signal.SIGTERM)
        async with asyncio.timeout(_SECONDS):
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@asynccontextmanager
async def silent_database() -> AsyncIterator[tuple[str, asyncio.Event]]:
    """A database that takes connections and never says a word, and whether somebody has asked it."""
    asked, over = asyncio.Event(), asyncio.Event()

    async def keep(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await over.wait()
        writer.close()

    server = await asyncio.start_server(keep, "127.0.0.1", 0)
    yield f"postgresql://a:b@127.0.0.1:{server.sockets[0].getsockname()[1]}/x", asked
    over.set()
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize("command", [("serve", "--role", "worker"), ("migrate",), ("sandbox",)])
async def test_it_ends_from_its_first_moments_on(command: tuple[str, ...], tmp_path: Path) -> None:
    async with silent_database() as (url, _):
        settings = environment(port=free_port(), sandbox_url="http://127.0.0.1:9", database_url=url)
        process = await start(*as_process_1(), str(GENRELAY), *command, log=tmp_path / "log", **settings)
        await tell(process, hears)
    assert (process.returncode, (tmp_path / "log").read_text(encoding="utf-8")) == (143, "")


@pytest.mark.parametrize("command", [("serve",), ("migrate",)])
async def test_it_ends_while_the_database_does_not_answer(command: tuple[str, ...], tmp_path: Path) -> None:
    async with silent_database() as (url, asked):
        settings = environment(port=free_port(), sandbox_url="http://127.0.0.1:9", database_url=url)
        process = await start(*as_process_1(), str(GENRELAY), *command, log=tmp_path / "log", **settings)
        await tell(process, lambda _: asked.is_set())
    assert process.returncode == 143
    assert "Traceback" not in (tmp_path / "log").read_text(encoding="utf-8")


@pytest.mark.parametrize("library", ["pydantic_core", "uvloop"])
async def test_it_ends_while_it_imports(library: str, database_url: str, tmp_path: Path) -> None:
    settings = environment(port=free_port(), sandbox_url="http://127.0.0.1:9", database_url=database_url)
    command = ("serve", "--role", "worker")
    process = await start(*as_process_1(), str(GENRELAY), *command, log=tmp_path / "log", **settings)
    await tell(process, partial(imports, what=library))
    assert process.returncode == 143
    assert "service.listening" not in (tmp_path / "log").read_text(encoding="utf-8")


async def test_it_ends_while_it_opens_its_connections_and_leaves_no_worker(database_url: str, tmp_path: Path) -> None:
    settings = environment(port=free_port(), sandbox_url="http://127.0.0.1:9", database_url=database_url)
    db = await asyncpg.connect(database_url)
    await db.execute("BEGIN; LOCK TABLE api_keys")  # the bootstrap key has to wait
    process = await start(*as_process_1(), str(GENRELAY), "serve", log=tmp_path / "log", **settings)

    async def waits() -> bool:
        return bool(await db.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))

    await until(waits)
    await tell(process, hears)
    await db.execute("ROLLBACK")
    said = (tmp_path / "log").read_text(encoding="utf-8")
    assert process.returncode == 143
    assert "Traceback" not in said
    assert "service.listening" not in said
    assert await db.fetchval("SELECT count(*) FROM workers") == 0
    await db.close()


async def test_one_that_serves_finishes_and_ends_with_0(database_url: str, tmp_path: Path) -> None:
    more = {"GENRELAY_HTTP__LINGER_SECONDS": "0"}
    settings = environment(port=free_port(), sandbox_url="http://127.0.0.1:9", database_url=database_url, **more)
    process = await start(*as_process_1(), str(GENRELAY), "serve", log=tmp_path / "log", **settings)
    await tell(process, lambda _: b"service.listening" in (tmp_path / "log").read_bytes())
    assert process.returncode == 0
    assert b"service.draining" in (tmp_path / "log").read_bytes()


async def test_a_cancellation_that_somebody_swallows_is_not_forgotten() -> None:
    code = """
import asyncio, signal
from service.stopping import Start
async def run():
    start = Start()
    signal.raise_signal(signal.SIGTERM)
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        print("swallowed")
    await asyncio.sleep(0)
    start.end()
    print("served")
try:
    asyncio.run(run())
except asyncio.CancelledError:
    print("left")
"""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=subprocess.PIPE)
    async with asyncio.timeout(_SECONDS):
        out, _ = await process.communicate()
    assert out.split() == [b"swallowed", b"left"]


@pytest.mark.parametrize("command", ["serve", "migrate"])
@pytest.mark.parametrize("file", ["postgres.starting", "postgres/PG_VERSION", "postgres/postmaster.pid"])
async def test_the_embedded_server_is_stopped(command: str, file: str, tmp_path: Path, data: Path) -> None:
    settings = {"GENRELAY_DATA_DIR": str(data), "GENRELAY_PORT": str(free_port())}
    process = await start(str(GENRELAY), command, log=tmp_path / "log", **settings)

    async def comes() -> bool:
        return (data / file).exists()

    await until(comes)
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(60):
        await process.wait()
    said = (tmp_path / "log").read_text(encoding="utf-8")
    assert process.returncode == 143, said
    assert "service.listening" not in said
    assert not (data / "postgres" / "postmaster.pid").exists(), "stopped, and not left alone"
    server = EmbeddedServer(data)
    await asyncio.to_thread(server.start)  # what was begun does not hinder the next start
    await asyncio.to_thread(server.stop)
