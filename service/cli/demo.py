"""`genrelay demo`: everything at once on this machine, with its result checked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from service.cli.failures import ExitStatus
from service.cli.output import Json, answering


def demo(
    out: Annotated[Path, typer.Option(help="The folder that pictures, logs and the report are left in.")] = Path(
        "demo-output"
    ),
    keep_open: Annotated[
        bool, typer.Option("--keep-open", help="Leave everything running until Ctrl-C, to look around.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run jobs of every kind from submit to bucket, on real parts, and check what came of them; under a minute."""
    from service.demo.run import run_demo

    with answering(as_json) as output:
        if not run_demo(output, out, keep_open=keep_open):
            raise typer.Exit(ExitStatus.FAILED)
