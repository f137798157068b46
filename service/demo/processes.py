"""The demo's child processes: each with a log of its own, and ended for certain."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from service.demo.failures import DemoFailed

_STOP_SECONDS = 20.0
_OURS = ("GENRELAY_", "AWS_")


def genrelay(*arguments: str) -> list[str]:
    """Return the command line of a `genrelay` of this very installation."""
    # -P: a folder named `service` where the demo is started must not be taken for ours.
    return [sys.executable, "-P", "-m", "service.cli", *arguments]


def clean_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment without what would configure a service or an S3 client, plus `extra`."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_OURS)} | dict(extra)


class Child:
    """A process in a session of its own: Ctrl-C on the terminal reaches only us, and we end it in good order."""

    def __init__(self, name: str, command: list[str], log: Path, environment: Mapping[str, str]) -> None:
        self._name, self._log = name, log
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                command,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )

    def read_line(self) -> str:
        """Return the next line of its standard output; raises DemoFailed when it ends without one."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline().decode("utf-8", "replace").strip()
        if not line:
            self._process.wait(_STOP_SECONDS)
            self.check_alive()
        return line

    def check_alive(self) -> None:
        """Raise DemoFailed, with the end of its log, when it has ended by itself."""
        if self._process.poll() is not None:
            lines = self._log.read_text(errors="replace").splitlines()
            raise DemoFailed(
                f"{self._name} ended with status {self._process.returncode}", hint="\n".join(lines[-5:]) or None
            )

    def stop(self) -> None:
        """End it: asked first, killed when it does not listen."""
        if self._process.poll() is None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_STOP_SECONDS)
        # Also after a clean end: something it started may have stayed behind in its session.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


def run_once(command: list[str], environment: Mapping[str, str]) -> str:
    """Return what a command prints; raises DemoFailed when it fails."""
    done = subprocess.run(
        command,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        start_new_session=True,
    )
    if done.returncode != 0:
        raise DemoFailed(
            f"{' '.join(command[4:])} ended with status {done.returncode}", hint=done.stderr.strip()[-500:]
        )
    return done.stdout


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Make SIGTERM and a closed terminal what Ctrl-C is, once; what follows it is not interrupted again.

    On the way out of the block nothing is: what was started is being stopped then.
    """
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def ignore() -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)

    def interrupt(*_: object) -> None:
        ignore()
        raise KeyboardInterrupt

    for number in numbers:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        ignore()


@contextlib.contextmanager
def restored_signals() -> Iterator[None]:
    """Leave the handlers of signals as they were before the block."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
