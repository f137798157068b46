"""What commands print: JSON for machines or tables for people on standard output, trouble on standard error."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.failures import ExitStatus, Failure

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output, and nothing else there.")]

_WIDTH = 200  # columns when nobody's terminal says how many


class Output:
    """Where a command's results go."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json

    def show(self, value: Any, draw: Callable[[Any], RenderableType]) -> None:
        """Print a value as JSON, or what `draw` makes of it for people."""
        if self.as_json:
            print(json.dumps(value, indent=2, ensure_ascii=False), flush=True)
        else:
            open_console().print(draw(value))

    def show_line(self, value: Any, draw: Callable[[Any], RenderableType]) -> None:
        """Print one of many values: as one line of JSON, or for people; at once."""
        if self.as_json:
            print(json.dumps(value, ensure_ascii=False), flush=True)
        else:
            open_console().print(draw(value))


def open_console(stderr: bool = False) -> Console:
    """Return a console that takes text literally and does not cut it when it is read by a program."""
    from rich.console import Console

    class LiteralConsole(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    on_terminal = (sys.stderr if stderr else sys.stdout).isatty()
    return LiteralConsole(
        stderr=stderr, markup=False, emoji=False, highlight=False, width=None if on_terminal else _WIDTH
    )


@contextmanager
def answering(as_json: bool) -> Iterator[Output]:
    """Lend the output of one command, and turn its failures into a few lines and an exit status.

    With JSON, standard output then holds `{"error": …}`; the lines are on standard error in either case.
    """
    try:
        yield Output(as_json)
        sys.stdout.flush()
    except Failure as failure:
        _report(failure, as_json)
        raise typer.Exit(failure.status) from None
    except BrokenPipeError:
        # Python flushes standard output once more on its way out.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        complain("genrelay: nobody reads the output any more")
        raise typer.Exit(ExitStatus.FAILED) from None
    except KeyboardInterrupt:
        complain("genrelay: interrupted")
        raise typer.Exit(ExitStatus.INTERRUPTED) from None


def _report(failure: Failure, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"error": failure.as_json()}, indent=2, ensure_ascii=False), flush=True)
    complain(*failure.lines())


def complain(*lines: str) -> None:
    """Print lines on standard error, without what would steer a terminal."""
    for line in lines:
        print(printable(line), file=sys.stderr)


def printable(text: str) -> str:
    """Return text of strangers without what would steer a terminal."""
    return "".join(c if c.isprintable() else "\ufffd" for c in text)
