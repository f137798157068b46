"""What the checks found: one line each, with what to do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

_LONGEST = 600  # characters of what is said; a provider may say a page


class Status(StrEnum):
    """How bad it is. A warning works today and will bite; a failure means that jobs don't do what they should."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. check: `database.version`. hint: what to do; None when there is nothing to do."""

    check: str
    status: Status
    found: str
    hint: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the finding as a machine reads it."""
        return {"check": self.check, "status": self.status.value, "found": self.found, "hint": self.hint}


class NotPossibleError(Exception):
    """A check can't be made because of something that another one tells of; the message says what."""


@dataclass
class Notes:
    """Where one check writes down what it finds; kept also if it is given up in the middle.

    group: the check's name, which all its findings begin with. redact: takes the secrets out of a text.
    """

    group: str
    redact: Callable[[str], str] = str
    findings: list[Finding] = field(default_factory=list)

    def ok(self, name: str, found: str) -> None:
        """Note that something is as it should be."""
        self._add(name, Status.OK, found, None)

    def warn(self, name: str, found: str, hint: str) -> None:
        """Note that something works and should be looked at."""
        self._add(name, Status.WARNING, found, hint)

    def fail(self, name: str, found: str, hint: str) -> None:
        """Note that something does not work."""
        self._add(name, Status.FAILED, found, hint)

    def skip(self, name: str, found: str, hint: str | None = None) -> None:
        """Note that something was not looked at, and why."""
        self._add(name, Status.SKIPPED, found, hint)

    def judge(self, name: str, found: str, *, bad: bool, hint: str) -> None:
        """Note a warning if it is bad, else that all is well."""
        self._add(name, Status.WARNING if bad else Status.OK, found, hint if bad else None)

    def _add(self, name: str, status: Status, found: str, hint: str | None) -> None:
        check = f"{self.group}.{name}" if name else self.group
        self.findings.append(Finding(check, status, self._shown(found), None if hint is None else self._shown(hint)))

    def _shown(self, text: str) -> str:
        # Cut off only afterwards: half a secret would not be known as one.
        told = self.redact(text)
        return told if len(told) <= _LONGEST else f"{told[:_LONGEST]}…"


def has_failed(findings: Sequence[Finding]) -> bool:
    """Tell whether anything does not work; warnings and what was skipped don't count."""
    return any(finding.status is Status.FAILED for finding in findings)


def as_json(findings: Sequence[Finding]) -> dict[str, Any]:
    """Return all findings as a machine reads them."""
    return {"ok": not has_failed(findings), "checks": [finding.as_json() for finding in findings]}


def count_of(number: int, one: str, many: str | None = None) -> str:
    """Return a number with its noun: `1 job`, `2 jobs`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def span(seconds: float) -> str:
    """Return a time as people read it: `0.4 ms`, `12 s`, `3 min`, `5 h`, `2 days`."""
    if seconds < 1:
        return f"{seconds * 1000:.2g} ms" if seconds < 0.1 else f"{seconds * 1000:.0f} ms"
    for size, unit in ((86_400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"


def size_of(count: int) -> str:
    """Return a number of bytes as people read it."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"
