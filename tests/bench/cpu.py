"""CPU seconds of a tree of processes, and of a PostgreSQL that runs beside it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

import psutil


def _tree(root: psutil.Process, without: Collection[int]) -> Iterator[psutil.Process]:
    if root.pid in without:
        return
    yield root
    for child in root.children():
        yield from _tree(child, without)


def read_cpu(pids: Collection[int], without: Collection[int] = ()) -> float:
    """Return user and system CPU seconds of these processes and of everything below them, ended children included.

    `without` names processes whose trees are left out. Differences of two readings are what counts; a tick is 10 ms.
    """
    total = 0.0
    for pid in pids:
        for process in _tree(psutil.Process(pid), without):
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            # What a child used moves to its parent's `children_…` when it ends and is waited for, so nothing is lost.
            total += times.user + times.system + times.children_user + times.children_system
    return total


def postmasters(data_dir: Path) -> list[int]:
    """Return the ids of the PostgreSQL servers whose data lies somewhere below `data_dir`."""
    found = []
    for file in data_dir.rglob("postmaster.pid"):
        first = file.read_text().split("\n", 1)[0].strip()
        if first.isdigit() and psutil.pid_exists(int(first)):
            found.append(int(first))
    return found
