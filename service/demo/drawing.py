"""The demo as people see it: how far it is while it runs, and the result, provider by provider."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from service.demo.checks import Check
from service.demo.ends import find_mistakes
from service.demo.evidence import Played, WebhookCheck
from service.demo.report import Report, explain_check, explain_proof

# Red is for what should be otherwise.
_STYLES = {"succeeded": "green", "failed": "yellow", "canceled": "yellow", "refused": "yellow"}


def draw_progress(played: list[Played]) -> RenderableType:
    """Return how many jobs of each operation have ended."""
    drawn = _table("provider", "operation", "ended", "outputs stored")
    for provider, operation, group in _by_operation(played):
        ended = sum(one.ended for one in group)
        stored = sum(len(one.stored) for one in group)
        style = "green" if ended == len(group) else "cyan"
        drawn.add_row(provider, operation, Text(f"{ended} of {len(group)}", style=style), str(stored))
    return drawn


def _by_operation(played: Iterable[Played]) -> Iterator[tuple[str, str, list[Played]]]:
    def place(one: Played) -> tuple[str, str]:
        return one.scenario.provider, one.scenario.operation.name

    for (provider, operation), group in groupby(sorted(played, key=place), place):
        yield provider, operation, list(group)


def draw_report(report: Report) -> RenderableType:
    """Return what happened to each job, and what was checked."""
    drawn = _table("operation", "job", "what was special", "status", "outputs", "what proved it")
    for provider in report.evidence.providers:
        drawn.add_section()
        _add_provider(drawn, provider, report)
    return Group("", drawn, "", *[_draw_check(check) for check in report.checks], "", _sum_up(report))


def _add_provider(drawn: Table, provider: str, report: Report) -> None:
    drawn.add_row(Text(provider, style="bold"))
    for one in report.evidence.played:
        if one.scenario.provider == provider:
            _add_job(drawn, one)
    for check in report.evidence.webhook_checks:
        if check.provider == provider:
            _add_webhook_check(drawn, check)


def _add_job(drawn: Table, one: Played) -> None:
    scenario, mistakes = one.scenario, find_mistakes(one)
    proof = Text("; ".join(mistakes), style="bold red") if mistakes else explain_proof(one)
    status = Text(one.status, style=_STYLES.get(one.status, "cyan"))
    drawn.add_row(scenario.operation.name, scenario.name, scenario.special, status, _count_outputs(one), proof)


def _add_webhook_check(drawn: Table, check: WebhookCheck) -> None:
    ok = bool(check.report["ok"])
    status = Text("passed" if ok else "not passed", style="green" if ok else "bold red")
    drawn.add_row(check.report["operation"], "", "webhook check", status, "", explain_check(check))


def _table(*columns: str) -> Table:
    drawn = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for column in columns:
        drawn.add_column(column)
    return drawn


def _count_outputs(one: Played) -> str:
    if not one.outputs:
        return ""
    mocks = sum(output["status"] == "mock" for output in one.outputs)
    return f"{mocks} mock" if mocks else f"{len(one.stored)} of {len(one.outputs)}"


def _draw_check(check: Check) -> RenderableType:
    mark = Text("✓ ", style="green") if check.ok else Text("✗ ", style="bold red")
    line = mark.append(check.claim, style="default")
    return line if check.ok else Group(line, *(Text(f"    {mistake}", style="red") for mistake in check.mistakes))


def _sum_up(report: Report) -> Text:
    said = "All is as it should be" if report.ok else "Not all is as it should be"
    style = "bold green" if report.ok else "bold red"
    text = Text(f"{said}, after {report.seconds:.0f} s. ", style=style)
    return text.append(f"Pictures, logs and the report are in {report.folder}", style="default")
