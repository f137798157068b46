"""JSON documents that a command is given: from a file, or from standard input."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from service.cli.failures import ExitStatus, Failure

MOST_BYTES = 64 * 2**20


def read_document(path: str) -> dict[str, Any]:
    """Return the JSON object in a file, `-` for standard input; raises Failure that says where it is wrong."""
    return parse_document(read_bytes(path), name_of(path))


def name_of(path: str) -> str:
    """Return what a file is called in messages."""
    return "standard input" if path == "-" else path


def read_bytes(path: str) -> bytes:
    """Return what is in a file, `-` for standard input; raises Failure, also for more than `MOST_BYTES`."""
    try:
        found = _read_some(path)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "no file can have this name"
        raise _wrong(f"{name_of(path)} can't be read", why) from None
    if len(found) > MOST_BYTES:
        raise _wrong(f"{name_of(path)} is too large", f"at most {MOST_BYTES // 2**20} MiB are read")
    return found


def _read_some(path: str) -> bytes:
    """Return the beginning of a file, one byte more than may be in it: some files have no end."""
    if path == "-":
        return sys.stdin.buffer.read(MOST_BYTES + 1)
    with Path(path).open("rb") as file:
        return file.read(MOST_BYTES + 1)


def parse_document(text: bytes | str, name: str) -> dict[str, Any]:
    """Return the JSON object that a text is; raises Failure that says where it is wrong, and quotes nothing of it."""
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise _wrong(f"{name} is not JSON", f"line {error.lineno}, column {error.colno}: {error.msg}") from None
    except (UnicodeDecodeError, RecursionError) as error:
        raise _wrong(f"{name} is not JSON", type(error).__name__) from None
    except ValueError:
        # Python's own guard against numbers that take minutes to read.
        most = sys.get_int_max_str_digits()
        raise _wrong(f"{name} can't be used", f"it holds a number of more than {most} digits") from None
    if not isinstance(found, dict):
        raise _wrong(f"{name} must hold a JSON object", None)
    _check_sendable(found, name)
    return found


def _check_sendable(found: dict[str, Any], name: str) -> None:
    """Raise Failure for what Python reads, although it is no JSON that could be sent on."""
    try:
        json.dumps(found, allow_nan=False, ensure_ascii=False).encode()
    except RecursionError as error:
        raise _wrong(f"{name} is not JSON", type(error).__name__) from None
    except UnicodeEncodeError:
        raise _wrong(f"{name} can't be used", "it holds half a character (\\ud800 to \\udfff alone)") from None
    except ValueError:
        raise _wrong(f"{name} can't be used", "it holds a number that is none, or too large for a float") from None


def _wrong(title: str, detail: str | None) -> Failure:
    return Failure(title, detail=detail, status=ExitStatus.USAGE)
