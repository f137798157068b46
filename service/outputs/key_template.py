"""Keys as a customer wants them: text with placeholders, in characters that every S3 and every tool takes.

`str.format` is for texts of our own: in a stranger's it would follow attributes and pad by gigabytes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from service.outputs.keys import check_probes, join_path

MAX_KEY_BYTES = 1024
MAX_CHARACTERS = 512

# What Amazon calls safe in the name of an object: https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html
_UNSAFE = re.compile(r"[^A-Za-z0-9!_.*'()/-]")
_PART = re.compile(r"\{([^{}]*)\}|([^{}]+|[{}])")
_INDEX = re.compile(r"index(?::0([1-9]))?")
_PATH = "{path}/"
# The most bytes that each may come to; operations' names have at most 64 characters, all of them safe.
_LONGEST = {
    "job_id": 30, "index": 5, "ext": 4, "provider": 64, "operation": 64, "date": 10, "year": 4, "month": 2, "day": 2,
}  # fmt: skip
_KNOWN = "{job_id} {index} {index:02} (… {index:09}) {ext} {provider} {operation} {date} {year} {month} {day}"


@dataclass(frozen=True, slots=True)
class Naming:
    """What a key can tell of an output. created_at: of the job, aware."""

    job_id: str
    index: int
    extension: str
    provider: str
    operation: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class _Placeholder:
    """What stands between two braces. width: of an index, filled up with zeros."""

    name: str
    width: int = 1


_Part = str | _Placeholder


def render_key(template: str, path: str, naming: Naming) -> str:
    """Return the key that a template which breaks no rule gives an output, the path before it."""
    day = naming.created_at.astimezone(UTC)
    values = {
        "job_id": naming.job_id,
        "index": str(naming.index),
        "ext": naming.extension,
        "provider": naming.provider,
        "operation": naming.operation,
        "date": f"{day:%Y-%m-%d}",
        "year": f"{day:%Y}",
        "month": f"{day:%m}",
        "day": f"{day:%d}",
    }
    parts = _parse(template.removeprefix(_PATH))
    name = "".join(part if isinstance(part, str) else values[part.name].rjust(part.width, "0") for part in parts)
    return join_path(path, name)


def check_template(template: str, path: str) -> str | None:
    """Return the rule that a key template breaks, None if it breaks none. path: what all its keys begin with."""
    if len(template) > MAX_CHARACTERS:
        return f"must not be longer than {MAX_CHARACTERS} characters"
    rest = template.removeprefix(_PATH)
    parts = _parse(rest)
    return (
        _check_placeholders(rest, parts)
        or _check_characters(parts)
        or _check_segments(rest)
        or _check_size(parts, path)
    )


def _parse(template: str) -> Sequence[_Part]:
    """Return the texts and placeholders of a template; a brace on its own is a text of its own."""
    return [text or _read_placeholder(inside) for inside, text in _PART.findall(template)]


def _read_placeholder(inside: str) -> _Placeholder:
    found = _INDEX.fullmatch(inside)
    return _Placeholder("index", int(found[1] or 1)) if found else _Placeholder(inside)


def _check_placeholders(template: str, parts: Sequence[_Part]) -> str | None:
    names = [part.name for part in parts if isinstance(part, _Placeholder)]
    if "path" in names:
        return "{path} may only be the very beginning, with a / after it; keys begin with the path also without it"
    if unknown := [name for name in names if name not in _LONGEST]:
        return f"{{{_show(unknown[0])}}} is no placeholder; there are {_KNOWN}, written exactly so"
    if missing := [f"{{{name}}}" for name in ("job_id", "index") if name not in names]:
        return f"must hold {' and '.join(missing)}: without, two outputs would get the same key"
    if "ext" in names and (names.count("ext") > 1 or not template.endswith(".{ext}")):
        return "must end in .{ext}, or leave {ext} out"
    return None


def _check_characters(parts: Sequence[_Part]) -> str | None:
    unsafe = next((found[0] for part in parts if isinstance(part, str) and (found := _UNSAFE.search(part))), None)
    if unsafe is None:
        return None
    if unsafe in "{}":
        return "must not hold a { or } that belongs to no placeholder"
    shown = unsafe if unsafe.isprintable() else f"U+{ord(unsafe):04X}"
    return f"must not hold {shown!r}: outside of placeholders keys have letters, digits and ! - _ . * ' ( ) /"


def _check_segments(template: str) -> str | None:
    if any(segment in {"", ".", ".."} for segment in template.split("/")):
        return "must not begin or end with /, or have a segment that is empty, . or .."
    return check_probes(template)


def _check_size(parts: Sequence[_Part], path: str) -> str | None:
    name = "".join(part if isinstance(part, str) else "x" * max(part.width, _LONGEST[part.name]) for part in parts)
    size = len(join_path(path, name).encode())
    return None if size <= MAX_KEY_BYTES else f"its keys may have {size} bytes; S3 takes at most {MAX_KEY_BYTES}"


def _show(name: str) -> str:
    shown = "".join(c if c.isprintable() else "\ufffd" for c in name[:41])
    return shown if len(shown) <= 40 else shown[:40] + "…"
