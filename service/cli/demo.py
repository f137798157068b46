"""`genrelay demo`: everything at once on this machine, with its result checked."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

import typer

from service.cli.failures import ExitStatus, Failure
from service.cli.output import Json, Output, answering, open_console

if TYPE_CHECKING:
    from service.demo.evidence import Played
    from service.demo.report import Report
    from service.demo.stage import Stage


def demo(
    out: Annotated[Path, typer.Option(help="The folder that pictures, logs and the report are left in.")] = Path(
        "demo-output"
    ),
    keep_open: Annotated[
        bool, typer.Option("--keep-open", help="Leave everything running until Ctrl-C, to look around.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run every operation of every provider from submit to bucket, on real parts, and check it all; under a minute."""
    from service.demo.failures import DemoFailed

    with answering(as_json) as output:
        try:
            ok = _play(output, out, keep_open)
        except DemoFailed as error:
            raise Failure(str(error), hint=error.hint) from None
        if not ok:
            raise typer.Exit(ExitStatus.FAILED)


def _play(output: Output, out: Path, keep_open: bool) -> bool:
    from service.demo.drawing import draw_report
    from service.demo.run import running_demo

    with _Display(output.as_json) as display, running_demo(out, display.say, display.look) as (stage, report):
        display.close()
        output.show(report.as_json(), lambda _: draw_report(report))
        if keep_open:
            _stay(stage, report)
    return report.ok


def _stay(stage: Stage, report: Report) -> None:
    """Wait for Ctrl-C while a user looks around; how to reach everything is in a file only the user can read."""
    path = report.folder / "environment"
    lines = [
        f"export GENRELAY_URL={stage.url}",
        f"export GENRELAY_API_KEY={stage.key}",
        f"export AWS_ENDPOINT_URL={stage.s3.endpoint_url}",
        f"export AWS_ACCESS_KEY_ID={stage.s3.access_key_id}",
        f"export AWS_SECRET_ACCESS_KEY={stage.s3.secret_access_key}",
        f"export AWS_REGION={stage.s3.region}",
    ]
    path.unlink(missing_ok=True)
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write("\n".join(lines) + "\n")
        print(f"Everything runs until Ctrl-C. In another shell: . {path}; genrelay jobs list", file=sys.stderr)
        signal.pause()
    except KeyboardInterrupt:
        print("stopping", file=sys.stderr)
    finally:
        path.unlink(missing_ok=True)


class _Display:
    """Steps as lines, and on a terminal the jobs as a table that changes; nothing at all with JSON."""

    def __init__(self, quiet: bool) -> None:
        from rich.live import Live

        self._console = open_console()
        self._console.quiet = quiet
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._began = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def say(self, step: str) -> None:
        """Print a step that is done."""
        self._console.print(f"{time.monotonic() - self._began:5.1f} s  {step}")

    def look(self, played: list[Played]) -> None:
        """Show how far the jobs are."""
        from service.demo.drawing import draw_progress

        if self._console.is_terminal and not self._console.quiet:
            self._live.start()
            self._live.update(draw_progress(played), refresh=True)

    def close(self) -> None:
        """Take the table away."""
        self._live.stop()
