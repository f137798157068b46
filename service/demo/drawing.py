"""The demo as people see it: jobs while they run, and the result."""

from __future__ import annotations

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from service.demo.checks import Check, find_mistakes
from service.demo.evidence import Played
from service.demo.report import Report, explain_proof

_STYLES = {"succeeded": "green", "failed": "red", "canceled": "yellow", "refused": "red"}


def draw_progress(played: list[Played]) -> RenderableType:
    """Return how far each job is."""
    drawn = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column in ("job", "what is special", "status", "outputs"):
        drawn.add_column(column)
    for one in played:
        drawn.add_row(one.scenario.name, one.scenario.special, _status(one), _outputs(one))
    return drawn


def draw_report(report: Report) -> RenderableType:
    """Return what happened to each job, and what was checked."""
    drawn = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column in ("job", "what was special", "status", "verified by", "outputs", "what proved it"):
        drawn.add_column(column)
    for one in report.evidence.played:
        mistakes = find_mistakes(one)
        proof = Text("; ".join(mistakes), style="bold red") if mistakes else explain_proof(one)
        verified = (one.job or {}).get("verified_by") or ""
        drawn.add_row(one.scenario.name, one.scenario.special, _status(one), verified, _outputs(one), proof)
    return Group("", drawn, "", *[_draw_check(check) for check in report.checks], "", _sum_up(report))


def _status(one: Played) -> Text:
    return Text(one.status, style=_STYLES.get(one.status, "cyan"))


def _outputs(one: Played) -> str:
    outputs = [] if one.job is None else one.job["outputs"]
    mocks = sum(output["status"] == "mock" for output in outputs)
    stored = sum(output["status"] == "stored" for output in outputs)
    if not outputs:
        return ""
    return f"{mocks} mock" if mocks else f"{stored} of {len(outputs)}"


def _draw_check(check: Check) -> RenderableType:
    mark = Text("✓ ", style="green") if check.ok else Text("✗ ", style="bold red")
    line = mark.append(check.claim, style="default")
    return line if check.ok else Group(line, *(Text(f"    {mistake}", style="red") for mistake in check.mistakes))


def _sum_up(report: Report) -> Text:
    said = "All is as it should be" if report.ok else "Not all is as it should be"
    style = "bold green" if report.ok else "bold red"
    text = Text(f"{said}, after {report.seconds:.0f} s. ", style=style)
    return text.append(f"Pictures, logs and the report are in {report.folder}", style="default")
