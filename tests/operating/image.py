"""What the Dockerfile makes, played without Docker: an environment with the pinned packages and our wheel, and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path
from zipfile import ZipFile

import httpx
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
_PR_CAPBSET_DROP, _CAP_DAC_OVERRIDE = 24, 1


@dataclass(frozen=True)
class Image:
    """The environment, and the wheel that was put into it."""

    folder: Path
    wheel: Path
    sources: frozenset[str]  # what it was built from, of our packages

    @property
    def genrelay(self) -> Path:
        """Return the entry point."""
        return self.folder / "opt/bin/genrelay"

    def files(self) -> set[Path]:
        """Return everything that lies in it."""
        return set(self.folder.rglob("*"))

    def names_in_wheel(self) -> set[str]:
        """Return the paths of the wheel's files."""
        with ZipFile(self.wheel) as archive:
            return set(archive.namelist())

    def environment(self, given: Mapping[str, str]) -> dict[str, str]:
        """Return the environment of a container: what the Dockerfile sets, and no place to write to."""
        nowhere = str(self.folder / "nowhere")
        fixed = {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1", "GENRELAY_LOG_FORMAT": "json"}
        return {**fixed, "HOME": nowhere, "TMPDIR": nowhere, "PATH": str(self.genrelay.parent), **given}

    async def run(self, *arguments: str, **given: str) -> tuple[int, str, str]:
        """Run a command to its end; returns its exit status and what it said, on standard output and standard error."""
        process = await self._start(arguments, given, asyncio.subprocess.PIPE)
        said, complained = await process.communicate()
        assert process.returncode is not None
        return process.returncode, said.decode(), complained.decode()

    @contextlib.asynccontextmanager
    async def serve(self, role: str, log: Path, given: Mapping[str, str]) -> AsyncIterator[None]:
        """Serve as long as the block; on leaving it is asked to stop, and has to end well."""
        with log.open("wb") as file:
            process = await self._start(("serve", "--role", role), given, file.fileno())
        try:
            await _until_ready(f"http://127.0.0.1:{given['GENRELAY_PORT']}", process, log)
            yield
            process.terminate()
            async with asyncio.timeout(30):
                assert await process.wait() == 0, _tail(log)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def _start(
        self, arguments: tuple[str, ...], given: Mapping[str, str], out: int
    ) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            str(self.genrelay),
            *arguments,
            env=self.environment(given),
            cwd=self.folder / "nowhere",
            stdout=out,
            stderr=out,
            preexec_fn=_obey_modes,
        )


def _tail(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-6000:]


def _obey_modes() -> None:
    """Let file modes hold for root, too; for anybody else they do, and this does nothing."""
    ctypes.CDLL(None).prctl(_PR_CAPBSET_DROP, _CAP_DAC_OVERRIDE, 0, 0, 0)


async def _until_ready(url: str, process: asyncio.subprocess.Process, log: Path) -> None:
    async with httpx.AsyncClient(trust_env=False, timeout=5) as http, asyncio.timeout(40):
        while True:
            with contextlib.suppress(httpx.TransportError):
                if (await http.get(f"{url}/readyz")).status_code == 200:
                    return
            assert process.returncode is None, _tail(log)
            await asyncio.sleep(0.02)


@contextlib.contextmanager
def built_image() -> Iterator[Image]:
    """Do what the Dockerfile's stages do, and make the result read-only."""
    folder = Path(tempfile.mkdtemp(prefix="genrelay-image-"))
    try:
        sources, wheel = _build_wheel(folder)
        _run(sys.executable, "-m", "venv", "--without-pip", folder / "opt")
        site = folder / f"opt/lib/python3.{sys.version_info.minor}/site-packages"
        for name in pinned_names():
            _link(name, site)
        target = folder / "opt/bin/python"
        _run(sys.executable, "-m", "pip", "--python", target, "install", "--quiet", "--no-deps", "--no-index", wheel)
        _run(target, "-m", "compileall", "-q", *(site / package for package in ("config", "handlers", "service")))
        (folder / "nowhere").mkdir()
        _set_modes(folder, 0o555)
        yield Image(folder, wheel, sources)
    finally:
        _set_modes(folder, 0o755)
        shutil.rmtree(folder)


def pinned_names() -> list[str]:
    """Return the names that requirements/image.txt pins for this machine."""
    lines = (ROOT / "requirements/image.txt").read_text(encoding="utf-8").splitlines()
    pinned = [Requirement(line.rstrip(" \\")) for line in lines if line[:1].isalnum()]
    return [pin.name for pin in pinned if pin.marker is None or pin.marker.evaluate()]


def _build_wheel(folder: Path) -> tuple[frozenset[str], Path]:
    # Of a copy of what .dockerignore lets through: a build leaves nothing in the tree that way.
    source = folder / "src"
    source.mkdir()
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    for name in ("config", "handlers", "service"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", folder)
    files = {str(path.relative_to(source)) for path in source.rglob("*") if path.is_file()}
    _run(sys.executable, "-m", "pip", "wheel", *options, source)
    shutil.rmtree(source)
    [wheel] = folder.glob("*.whl")
    return frozenset(files - {"pyproject.toml", "README.md"}), wheel


def _link(name: str, site: Path) -> None:
    """Put a package there file by file, with what was compiled of it: folders may be shared with packages that are not."""
    found = distribution(name)
    for file in found.files or ():
        if file.parts[0] == "..":
            continue
        original = Path(str(found.locate_file(file)))
        _link_file(original, site / file)
        for compiled in original.parent.glob(f"__pycache__/{original.stem}.cpython-*.pyc"):
            _link_file(compiled, (site / file).parent / "__pycache__" / compiled.name)


def _link_file(original: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    if not place.is_symlink():
        place.symlink_to(original)


def _set_modes(folder: Path, mode: int) -> None:
    for here, _, _ in os.walk(folder):
        Path(here).chmod(mode)


def _run(*command: str | Path) -> None:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, cwd="/")
    assert done.returncode == 0, done.stderr
