"""The processes of a benchmark: started with a log file of their own, waited for, and ended for certain."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 60.0
STOP_SECONDS = 20.0


class Broken(Exception):  # noqa: N818 - the bench's one verdict besides its figures
    """Something broke (not: was slow); the message says what, and the bench exits non-zero."""


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return this process's environment without what would configure a service or an S3 client, plus `extra`."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("GENRELAY_", "AWS_"))}
    return own | {"PYTHONUNBUFFERED": "1"} | dict(extra or {})


def free_port() -> int:
    """Return a TCP port that was free on 127.0.0.1 a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(ready: Callable[[], bool], what: str, seconds: float = START_SECONDS) -> None:
    """Return as soon as `ready()` holds; raises Broken after `seconds`."""
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            raise Broken(f"{what}: not there after {seconds:.0f} s")
        time.sleep(0.02)


def port_file(folder: Path, name: str) -> Path:
    """Return where a process is to write its port; an earlier run's file there is gone afterwards."""
    path = folder / f"{name}.port"
    path.unlink(missing_ok=True)
    return path


class Child:
    """One process in a session of its own, so that a signal to its group reaches what it started, too."""

    def __init__(self, name: str, command: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
        self.name = name
        self.log = log
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                command, cwd=ROOT, env=dict(environment), stdout=out, stderr=subprocess.STDOUT, start_new_session=True
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Return the process's id."""
        return self._process.pid

    def alive(self) -> bool:
        """Return whether it still runs; raises Broken, with the end of its log, when it has ended by itself."""
        if self._process.poll() is not None:
            raise Broken(f"{self.name} ended with status {self._process.returncode}; its log ends with\n{self.tail()}")
        return True

    def wait_for_port(self, path: Path) -> int:
        """Return the port that the process writes into the file `path` once it listens."""
        wait_until(lambda: self.alive() and path.exists() and path.read_text().strip() != "", self.name)
        return int(path.read_text())

    def wait(self) -> int:
        """Return its exit status when it ends by itself, within a minute."""
        return self._process.wait(START_SECONDS)

    def tail(self, lines: int = 20) -> str:
        """Return the last lines of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def stop(self) -> None:
        """End it: asked first, killed with its whole group when it does not listen."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_SECONDS)
        # Also after a clean end: something it started may have stayed behind in its group.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
