"""Asking the doctor in a test: with real settings, about real servers."""

from __future__ import annotations

from typing import Any

from service.doctor import Finding, examine
from tests.world import SECRET_KEY


def settings(database_url: str, **more: str) -> dict[str, str]:
    """Return the environment of a service that nobody has started."""
    return {
        "GENRELAY_DATABASE_URL": database_url,
        "GENRELAY_SECRET_KEY": SECRET_KEY,
        "GENRELAY_ALLOWED_PRIVATE_SUBNETS": "127.0.0.0/8",
        **more,
    }


async def look(environ: dict[str, str], only: str, **more: Any) -> list[Finding]:
    """Return what one check finds; whatever is not well comes with what to do."""
    findings = await examine(environ, only=(only,), **more)
    assert findings, "a check that says nothing"
    assert all(finding.check.partition(".")[0] == only for finding in findings)
    for finding in findings:
        assert finding.status in {"ok", "skipped"} or finding.hint, finding
    return findings


def told(findings: list[Finding], check: str) -> Finding:
    """Return the only finding of this name."""
    found = [finding for finding in findings if finding.check == check]
    assert len(found) == 1, findings
    return found[0]


def statuses(findings: list[Finding]) -> dict[str, str]:
    """Return the status by the name of what was looked at."""
    return {finding.check: finding.status.value for finding in findings}
