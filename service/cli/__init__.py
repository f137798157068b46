"""The `genrelay` command; its commands are in `commands`."""

from __future__ import annotations

import io
import sys


def main() -> None:
    """Run the command line."""
    from service.stopping import end_at_sigterm

    # Before anything that takes time, such as the commands' imports.
    end_at_sigterm()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that lacks a character must not stop us; inside of JSON this is the right escape.
            stream.reconfigure(errors="backslashreplace")
    from service.cli.commands import app

    app()
