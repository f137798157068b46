"""JSON documents that a command is given: from a file, or from standard input."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from service.cli.failures import ExitStatus, Failure


def read_document(path: str) -> dict[str, Any]:
    """Return the JSON object in a file, `-` for standard input; raises Failure that says where it is wrong."""
    return parse_document(read_bytes(path), name_of(path))


def name_of(path: str) -> str:
    """Return what a file is called in messages."""
    return "standard input" if path == "-" else path


def read_bytes(path: str) -> bytes:
    """Return what is in a file, `-` for standard input; raises Failure."""
    try:
        return sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    except OSError as error:
        raise _wrong(f"{name_of(path)} can't be read", error.strerror) from None


def parse_document(text: bytes | str, name: str) -> dict[str, Any]:
    """Return the JSON object that a text is; raises Failure that says where it is wrong, and quotes nothing of it."""
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise _wrong(f"{name} is not JSON", f"line {error.lineno}, column {error.colno}: {error.msg}") from None
    except (UnicodeDecodeError, RecursionError) as error:
        raise _wrong(f"{name} is not JSON", type(error).__name__) from None
    if not isinstance(found, dict):
        raise _wrong(f"{name} must hold a JSON object", None)
    return found


def _wrong(title: str, detail: str | None) -> Failure:
    return Failure(title, detail=detail, status=ExitStatus.USAGE)
