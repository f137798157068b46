"""The demo's result: what happened to each job, what was checked, and the folder it leaves."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.demo.checks import Check
from service.demo.ends import find_mistakes
from service.demo.evidence import Evidence, Played, WebhookCheck
from service.demo.failures import DemoFailed

_MARK = ".genrelay-demo"


@dataclass(frozen=True)
class Report:
    """What the demo found out. seconds: from the first process to the last check."""

    evidence: Evidence
    checks: list[Check]
    seconds: float
    folder: Path

    @property
    def ok(self) -> bool:
        """Tell whether all is as it should be."""
        return all(check.ok for check in self.checks)

    def as_json(self) -> dict[str, Any]:
        """Return all of it for machines."""
        return {
            "ok": self.ok,
            "seconds": round(self.seconds, 1),
            "folder": str(self.folder),
            "jobs": [_row(one) for one in self.evidence.played],
            "webhook_checks": [check.report for check in self.evidence.webhook_checks],
            "checks": [{"claim": c.claim, "ok": c.ok, "mistakes": c.mistakes} for c in self.checks],
        }


def _row(one: Played) -> dict[str, Any]:
    job = one.job or {}
    return {
        "provider": one.scenario.provider,
        "operation": one.scenario.operation.name,
        "name": one.scenario.name,
        "special": one.scenario.special,
        "job": job.get("id"),
        "status": one.status,
        "verified_by": job.get("verified_by"),
        "error": job["error"]["code"] if job.get("error") else None,
        "test": one.scenario.is_test,
        "outputs": [output["key"] or output["status"] for output in one.outputs],
        "callbacks": one.verdicts or [],
        "proof": explain_proof(one),
        "mistakes": find_mistakes(one),
    }


def explain_proof(one: Played) -> str:
    """Say what the job's end rests on."""
    if one.job is None:
        errors = (one.refusal or {}).get("errors", ())
        return f"refused by us: {', '.join(str(error['path']).rpartition('.')[2] for error in errors)}"
    callbacks = Counter(str(said) for said in one.verdicts or ())
    told = ", ".join(f"{count} {said}" if count > 1 else said for said, count in callbacks.items())
    match one.job["verified_by"]:
        case "readback" if not callbacks:
            return "read-back by clock"
        case "readback":
            return f"read-back ({told})"
        case "sync":
            return "the submit's answer"
        case "token":
            sender = "their" if one.scenario.operation.native_test_mode else "our"
            return f"{sender} mock, nothing paid"
        case _:
            return "nothing"


def explain_check(check: WebhookCheck) -> str:
    """Say how far a webhook check came."""
    tried = [step for step in check.report["steps"] if step["ok"] is not None]
    failed = [str(step["step"]) for step in tried if not step["ok"]]
    if failed:
        return f"{', '.join(failed)} failed"
    arrived = sum(step["step"] == "callback_arrived" for step in tried)
    return f"{arrived} callbacks came, {len(tried)} steps"


def prepare_folder(folder: Path) -> Path:
    """Make an empty folder for pictures and logs, in place of an earlier demo's; returns the one for logs.

    Raises DemoFailed rather than touch what is not ours.
    """
    ours = (folder / _MARK).exists()
    try:
        if folder.exists() and not ours and any(folder.iterdir()):
            raise DemoFailed(f"{folder} holds something else already; choose another folder with --out")
        for name in ("pictures", "logs"):
            shutil.rmtree(folder / name, ignore_errors=True)
            (folder / name).mkdir(parents=True)
        (folder / _MARK).write_text("Made by `genrelay demo`, which empties it when it runs again.\n")
    except OSError as error:
        raise DemoFailed(f"{error.filename or folder}: {error.strerror}") from None
    return folder / "logs"


def write_folder(report: Report) -> None:
    """Leave the pictures, as they were read back from the bucket, and the report."""
    for one in report.evidence.played:
        for output in one.stored:
            body = report.evidence.objects.get(output["key"])
            if body is not None:
                stem = "-".join(one.scenario.label.split())
                name = f"{stem}-{output['index']:02}{Path(output['key']).suffix}"
                (report.folder / "pictures" / name).write_bytes(body)
    text = json.dumps(report.as_json(), indent=2, ensure_ascii=False)
    (report.folder / "report.json").write_text(text + "\n", encoding="utf-8")
