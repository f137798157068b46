"""What people see: one line per finding, and below it what to do."""

from __future__ import annotations

import io

from rich.console import Console

from service.cli.doctor import _draw, _lines
from service.doctor import Finding, Status

FINDINGS = [
    Finding("settings", Status.OK, "can be used"),
    Finding("database.reachable", Status.FAILED, "refuses \x1b[31mconnections", "Start it."),
    Finding("database.tables", Status.SKIPPED, "not looked at"),
]


def test_plain_lines_can_be_read_by_programs() -> None:
    assert _lines(FINDINGS) == [
        "ok       settings            can be used",
        "failed   database.reachable  refuses \ufffd[31mconnections",
        "                             -> Start it.",
        "skipped  database.tables     not looked at",
        "",
        "1 ok, 1 failed, 1 skipped",
    ]


def test_on_a_terminal_it_is_a_tree_by_check() -> None:
    console = Console(file=io.StringIO(), width=80)
    console.print(_draw(FINDINGS))
    drawn = console.file.getvalue()  # type: ignore[attr-defined]
    assert drawn.count("database") == 1
    assert "failed   reachable: refuses \ufffd[31mconnections" in drawn
    assert "-> Start it." in drawn
