"""Servers of every supported version of PostgreSQL: out of npm's packages, and Debian's own where it is installed.

What npm brings is fetched once per machine, into a folder that belongs to the lock file's text.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

FOLDER = Path(__file__).parent / "postgres"
DEBIAN = Path("/usr/lib/postgresql")
_BIN = Path(sys.executable).parent
_ARCHITECTURE = {"x86_64": "x64", "aarch64": "arm64"}.get(platform.machine(), "none")
_CONFIGURATION = "fsync = off\nfull_page_writes = off\nmax_connections = 120\nlisten_addresses = ''\n"


def packaged() -> list[str]:
    """Return the names of npm's packages for this machine: `postgres-14-x64`, …"""
    packages = json.loads((FOLDER / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    names = [path.removeprefix("node_modules/") for path in packages if path]
    return [name for name in names if name.endswith(f"-{_ARCHITECTURE}")]


def debians() -> list[str]:
    """Return the folders of the servers that Debian has installed here, perhaps none."""
    return sorted(str(path.parent) for path in DEBIAN.glob("*/bin/initdb"))


def binaries(server: str) -> Path:
    """Return the folder of a server's programs. server: a name of `packaged`, or a folder."""
    return Path(server) if "/" in server else _installed() / "node_modules" / server / "native" / "bin"


def _installed() -> Path:
    """Return where npm has put the packages of the lock file; processes that come meanwhile wait for the first one."""
    digest = hashlib.sha256((FOLDER / "package-lock.json").read_bytes()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"genrelay-postgres-{os.getuid()}-{digest}"
    folder.mkdir(exist_ok=True)
    # The server runs as somebody else when the tests run as root.
    folder.chmod(0o755)
    with (folder / "lock").open("a", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            _install(folder)
            (folder / "complete").touch()
    return folder


def _install(folder: Path) -> None:
    for name in ("package.json", "package-lock.json"):
        shutil.copy(FOLDER / name, folder / name)
    environment = {**os.environ, "PATH": f"{_BIN}{os.pathsep}{os.environ['PATH']}"}
    command = [str(_BIN / "npm"), "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    for links in folder.glob("node_modules/*/native/pg-symlinks.json"):
        _link(links)


def _link(links: Path) -> None:
    """Make the links that the package's own script would make: npm's archives hold none."""
    root = links.parent.parent
    for each in json.loads(links.read_text(encoding="utf-8")):
        target = root / each["target"]
        target.unlink(missing_ok=True)
        target.symlink_to(os.path.relpath(root / each["source"], target.parent))


@contextlib.contextmanager
def running(programs: Path, folder: Path) -> Iterator[str]:
    """Run a new server in an empty folder as long as the block; lends the DSN of its database `postgres`."""
    user = _user()
    if user is not None:
        shutil.chown(folder, user)
    data = folder / "postgres"
    _run(user, programs / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "-N")
    with (data / "postgresql.conf").open("a", encoding="utf-8") as configuration:
        configuration.write(f"{_CONFIGURATION}unix_socket_directories = '{data}'\n")
    _run(user, programs / "pg_ctl", "-D", data, "-w", "-t", "60", "-l", data / "log", "start")
    try:
        yield f"postgresql://postgres@/postgres?host={data}"
    finally:
        _run(user, programs / "pg_ctl", "-D", data, "-w", "-m", "immediate", "stop")


def _user() -> str | None:
    """Return as whom the server runs: PostgreSQL refuses root; the embedded one's user is there wherever that ran."""
    if os.geteuid() != 0:
        return None
    subprocess.run(["useradd", "-s", "/bin/bash", "pgserver"], check=False, capture_output=True)
    return "pgserver"


def _run(user: str | None, *command: object) -> None:
    done = subprocess.run(
        [str(each) for each in command], check=False, cwd="/", user=user, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if "start" not in command else subprocess.DEVNULL, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
