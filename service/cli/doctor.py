"""`genrelay doctor`: what is wrong with this installation, and what to do."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.failures import ExitStatus, Failure
from service.cli.output import Json, answering, open_console, printable

if TYPE_CHECKING:
    from rich.tree import Tree

    from service.doctor import Finding

_STYLES = {"ok": "green", "warning": "yellow", "failed": "red", "skipped": "dim"}


def doctor(
    only: Annotated[
        str | None, typer.Option(help="Only these checks, comma-separated: settings, database, clock, …")
    ] = None,
    write_probes: Annotated[
        bool, typer.Option("--write-probes", help="Also write to customers' buckets, and delete it again.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Look for what is wrong and say what to do; changes nothing. Exit status 1 if something does not work."""
    with answering(as_json):
        from service.doctor import CHECKS, has_failed
        from service.doctor import as_json as told

        wanted = [name.strip() for name in (only or "").split(",") if name.strip()]
        unknown = [name for name in wanted if name not in CHECKS]
        if unknown or (only is not None and not wanted):
            raise Failure(
                f"there is no check {', '.join(unknown)!r}",
                hint=f"The checks are {', '.join(CHECKS)}.",
                status=ExitStatus.USAGE,
            )
        findings = _examine(wanted, write_probes=write_probes)
        if as_json:
            print(json.dumps(told(findings), indent=2, ensure_ascii=False))
        elif sys.stdout.isatty():
            open_console().print(_draw(findings))
        else:
            print("\n".join(_lines(findings)))
        sys.stdout.flush()
        _leave(ExitStatus.FAILED if has_failed(findings) else 0)


def _examine(wanted: Sequence[str], *, write_probes: bool) -> list[Finding]:
    """Run the checks; threads that hang in a name server's silence are not waited for, as `asyncio.run` would."""
    from config.logging import set_up_logging
    from service.doctor import examine

    # Whatever libraries log is said by the findings, in better words.
    set_up_logging("error", "json")
    os.environ.setdefault("AWS_EC2_METADATA_SERVICE_NUM_ATTEMPTS", "1")
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(examine(only=wanted, write_probes=write_probes))
    finally:
        for left in asyncio.all_tasks(loop):
            left.cancel()
        # Once more round the loop, so that they hear of it.
        loop.run_until_complete(asyncio.sleep(0.01))
        loop.close()


def _leave(status: int) -> None:
    if any(thread.name.startswith("asyncio_") for thread in threading.enumerate()) and _is_hanging():
        sys.stderr.flush()
        os._exit(status)
    if status:
        raise typer.Exit(status)


def _is_hanging() -> bool:
    """Tell whether a thread is still at something half a second later; idle ones end at once."""
    for thread in threading.enumerate():
        if thread.name.startswith("asyncio_"):
            thread.join(0.5)
            if thread.is_alive():
                return True
    return False


def _lines(findings: Sequence[Finding]) -> list[str]:
    """Return the findings as plain text: one line each, and below it what to do."""
    width = max((len(finding.check) for finding in findings), default=0)
    lines = []
    for finding in findings:
        lines.append(printable(f"{finding.status.value:<8} {finding.check:<{width}}  {finding.found}"))
        if finding.hint is not None:
            lines.append(printable(f"{'':<8} {'':<{width}}  -> {finding.hint}"))
    return [*lines, "", _sum_up(findings)]


def _draw(findings: Sequence[Finding]) -> Tree:
    from rich.text import Text
    from rich.tree import Tree

    tree = Tree(Text(_sum_up(findings), style="bold"))
    groups: dict[str, Tree] = {}
    for finding in findings:
        group, _, name = finding.check.partition(".")
        if group not in groups:
            groups[group] = tree.add(Text(group, style="bold"))
        line = Text(f"{finding.status.value:<8}", style=_STYLES[finding.status.value])
        line.append(f" {name + ': ' if name else ''}{printable(finding.found)}", style="default")
        if finding.hint is not None:
            line.append(f"\n-> {printable(finding.hint)}", style="cyan")
        groups[group].add(line)
    return tree


def _sum_up(findings: Sequence[Finding]) -> str:
    counts = {status: sum(finding.status.value == status for finding in findings) for status in _STYLES}
    return ", ".join(f"{count} {status}" for status, count in counts.items() if count)
