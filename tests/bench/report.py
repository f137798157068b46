"""The rows that `make bench` prints, and how they are printed and kept."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Row:
    """One line: what was measured, what is asked for, the figure, and what it is compared with."""

    what: str
    asked: str
    measured: str
    compared: str
    value: float | None = None


def median(values: Sequence[float]) -> float:
    """Return the median; of an even number of values the mean of the middle two."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least `share` (0 to 1) of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -(-int(share * 1_000_000) * len(ordered) // 1_000_000) - 1))]


def spread(values: Sequence[float], digits: int = 0) -> str:
    """Return `lowest-highest`, to show beside a median."""
    return f"{min(values):.{digits}f}-{max(values):.{digits}f}"


def print_rows(console: Console, rows: Sequence[Row]) -> None:
    """Print the table."""
    table = Table(title=f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    for heading in ("what", "asked for", "measured", "compared with"):
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(row.what, row.asked, row.measured, row.compared)
    console.print(table)


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Keep the rows as JSON."""
    path.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
