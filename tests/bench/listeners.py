"""Thousands of listeners of one process: what they weigh while nothing happens, and how soon all hear of one event."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
from rich.console import Console

from tests.bench.load import submit_only
from tests.bench.processes import ROOT, Broken, clean_environment
from tests.bench.report import Row, percentile
from tests.bench.service_process import BOOTSTRAP_KEY, OurService
from tests.bench.world import NOWHERE

ASKED = 512  # MiB
_COMMENT_SECONDS = 15.0  # the setting's default
_PAUSE = 0.05


@dataclass(frozen=True, slots=True)
class Size:
    """How many listen, and for how many pauses between comments they are left alone."""

    listeners: int = 10_000
    pauses: float = 2.2


QUICK = Size(2_000, 1.1)


class _Clients:
    """The process with the listeners."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def read(self) -> dict[str, Any]:
        """Return what it says next; raises Broken when it has ended."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise Broken(f"listeners: the clients' process has ended with {self._process.wait()}")
        return json.loads(line)  # type: ignore[no-any-return]

    def ask(self, what: str) -> dict[str, Any]:
        """Have it say something."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{what}\n")
        self._process.stdin.flush()
        return self.read()


@contextmanager
def _clients(port: int, count: int, log: Path) -> Iterator[_Clients]:
    command = [sys.executable, "-m", "tests.bench.listening_load", str(port), str(count), BOOTSTRAP_KEY]
    with log.open("w") as errors:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=clean_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        with process:
            try:
                yield _Clients(process)
            finally:
                process.kill()


def _idle(service: OurService, seconds: float) -> tuple[list[float], int]:
    """Ask for something small again and again; returns how long each answer took, and the most memory meanwhile."""
    process, most, took = psutil.Process(service.pid), 0, []
    end = time.monotonic() + seconds
    with httpx.Client(base_url=service.url, trust_env=False, timeout=30) as client:
        while time.monotonic() < end:
            began = time.perf_counter()
            client.get("/livez").raise_for_status()
            took.append(time.perf_counter() - began)
            most = max(most, process.memory_info().rss)
            time.sleep(_PAUSE)
    return took, most


def _tell(service: OurService, clients: _Clients, count: int) -> tuple[float, float]:
    """Let one event happen; returns the seconds until the first and the last listener had it."""
    began = time.monotonic()
    submit_only(service.target, 1, 1)
    told = clients.ask("told")
    if told["told"] != count:
        raise Broken(f"listeners: {told['told']} of {count} heard of the event")
    return told["first"] - began, told["last"] - began


def bench_listeners(console: Console, folder: Path, size: Size) -> list[Row]:
    """Measure one process that does everything (`--role all`); returns the rows. Raises Broken when one hears nothing."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < size.listeners + 500:
        raise Broken(f"listeners: this machine allows a process {hard} open files")
    # All of them are one account's, which may have half of a process's streams otherwise.
    room = {"GENRELAY_EVENTS__STREAMS_PER_ACCOUNT": str(size.listeners)}
    with OurService(NOWHERE, "all", "listeners", folder, extra=room) as service:
        alone, empty = _idle(service, 3.0)
        with _clients(service.port, size.listeners, folder / "listeners-clients.log") as clients:
            opened = clients.read()
            own, _ = service.cpu_seconds()
            seconds = size.pauses * _COMMENT_SECONDS
            quick, most = _idle(service, seconds)
            cpu = (service.cpu_seconds()[0] - own) / seconds
            commented = clients.ask("comments")["comments"]
            first, last = _tell(service, clients, size.listeners)
            after = psutil.Process(service.pid).memory_info().rss
        service.alive()
    if commented != size.listeners:
        raise Broken(f"listeners: {commented} of {size.listeners} had a comment within {seconds:.0f} s")
    console.print(
        f"{size.listeners:,} listeners opened in {opened['seconds']:.1f} s, {100 * cpu:.0f} % of a core while idle"
    )
    return [
        _memory_row(size, empty, most, after),
        Row(
            f"one event to {size.listeners:,} listeners",
            "",
            f"the last has it after {1000 * last:.0f} ms, the first after {1000 * first:.0f} ms, submit included",
            f"{1e6 * (last - first) / size.listeners:.0f} us each",
            last,
        ),
        Row(
            f"another request while {size.listeners:,} listeners get their comments",
            "",
            f"p99 {1000 * percentile(quick, 0.99):.1f} ms; {100 * cpu:.0f} % of a core",
            f"alone: p99 {1000 * percentile(alone, 0.99):.1f} ms",
            percentile(quick, 0.99),
        ),
    ]


def _memory_row(size: Size, empty: int, most: int, after: int) -> Row:
    mebibytes = most / 2**20
    return Row(
        f"memory of a process with {size.listeners:,} idle listeners",
        f"{ASKED} MiB",
        f"{mebibytes:.0f} MiB, {(most - empty) / size.listeners / 1024:.1f} KiB each; {after / 2**20:.0f} MiB after an event",
        f"{empty / 2**20:.0f} MiB without; {100 * mebibytes / ASKED:.0f} % of {ASKED} MiB",
        mebibytes,
    )
