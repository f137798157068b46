"""What this process, and with it any other in the same container, is allowed: files, memory, and what it is made of."""

from __future__ import annotations

import platform
import resource
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from service.doctor.findings import Notes, size_of
from service.doctor.ground import Ground

_MOST_FILES = 65_536  # to which `serve` raises its own limit
_FILES_BESIDE_STREAMS = 1024  # connections to providers, buckets, subscribers and the database
_PROCESS = 256 * 2**20  # bytes of a process that does nothing much
_LIBRARIES = (
    "genrelay",
    "asyncpg",
    "pgqueuer",
    "starlette",
    "uvicorn",
    "httpx",
    "aioboto3",
    "pydantic",
    "cryptography",
)
_HUGE = 2**60  # bytes: no limit at all, as version 1 of cgroups says it


async def check(ground: Ground, notes: Notes) -> None:
    """Look at limits, then at versions."""
    _check_files(ground, notes)
    _check_memory(ground, notes)
    found = ", ".join(f"{name} {told}" for name in _LIBRARIES if (told := _version_of(name)) is not None)
    notes.ok("versions", f"Python {platform.python_version()}, {found}")


def _check_files(ground: Ground, notes: Notes) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if ground.settings is None:
        notes.skip("files", "not compared: the settings can't be used")
        return
    streams = ground.settings.events.streams
    needed = streams + _FILES_BESIDE_STREAMS
    fewer = max(1, most - _FILES_BESIDE_STREAMS)
    hint = f"Raise the hard limit (ulimit -Hn, LimitNOFILE) to {needed}, or set GENRELAY_EVENTS__STREAMS to {fewer}."
    found = f"{most:,} open files (soft {soft:,}, which `serve` raises) for {streams:,} streams"
    notes.judge("files", found, bad=most < needed, hint=hint)


def _check_memory(ground: Ground, notes: Notes) -> None:
    limit = read_memory_limit(ground.cgroup)
    if limit is None:
        notes.ok("memory", "no limit of a container's")
        return
    if ground.settings is None:
        notes.skip("memory", "not compared: the settings can't be used")
        return
    outputs = ground.settings.outputs.memory_bytes
    needed = outputs + _PROCESS
    takes = f"{size_of(outputs)} for outputs and {size_of(_PROCESS)} beside"
    found = f"{size_of(limit)} for the container; a worker may take {takes}"
    less = max(2**20, limit - _PROCESS)
    hint = f"Raise the memory limit to {size_of(needed)}, or set GENRELAY_OUTPUTS__MEMORY_BYTES to {less}."
    if limit <= outputs:
        notes.fail("memory", found, hint)
    else:
        notes.judge("memory", found, bad=limit < needed, hint=hint)


def read_memory_limit(cgroup: Path) -> int | None:
    """Return the bytes that a container may use, None when there is no limit. cgroup: version 2, or 1."""
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            told = (cgroup / name).read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            continue
        return int(told) if told.isdecimal() and int(told) < _HUGE else None
    return None


def _version_of(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
