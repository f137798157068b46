"""Evidence in which all is as it should be: what a demo without any trouble would find."""

from __future__ import annotations

import copy
import hashlib
import io
import random
from typing import Any

from PIL import Image

from service.demo.evidence import Evidence, Played, WebhookCheck
from service.demo.receiver import Received
from service.demo.scenarios import Scenario, make_scenarios
from service.demo.scenarios.body import read_prompt
from service.providers.registry import PROVIDERS

TOKEN = "token-of-the-callback-url"
STEPS = ("job_submitted", "callback_arrived", "callback_parsed", "status_as_asked")
NAMES = {"lighthouse", "bridge", "castle", "garden", "pond"}


def right_evidence() -> Evidence:
    """Return the evidence of each operation's job, one submitted twice, one refused, test jobs and webhook checks."""
    evidence = Evidence([], [], {}, '{"event": "job.submitted"}\n')
    for scenario in make_scenarios():
        if scenario.name in NAMES:
            evidence.played.append(_play(scenario, evidence))
    for one in evidence.played:
        evidence.feed.extend(copy.deepcopy(one.events or []))
    evidence.received.extend(Received(event["id"], copy.deepcopy(event), True) for event in evidence.feed)
    for name in PROVIDERS:
        evidence.webhook_checks.append(_check(name, evidence))
    return evidence


def find(evidence: Evidence, label: str) -> Played:
    """Return what came of one scenario."""
    return next(one for one in evidence.played if one.scenario.label == label)


def submit_of(scenario: Scenario, task_id: str = "t-another", test: bool = False) -> dict[str, Any]:
    """Return a line of the provider's ledger about a scenario."""
    return {
        "provider": scenario.provider,
        "endpoint": scenario.operation.path.rpartition("/")[2],
        "prompt": read_prompt(scenario.body["input"]),
        "test": test,
        "task_id": task_id,
        "callback_url": f"http://127.0.0.1:1/v1/callbacks/{scenario.provider}/{TOKEN}",
    }


def _play(scenario: Scenario, evidence: Evidence) -> Played:
    if scenario.status == "refused":
        return Played(scenario, None, refusal={"code": "invalid_request", "errors": []})
    number, job_id = len(evidence.played), f"job_{'_'.join(scenario.label.split())}"
    answered, native = scenario.operation.answers == "result", scenario.operation.native_test_mode
    if scenario.paid or native:
        evidence.submits.append(submit_of(scenario, f"t{number}", test=scenario.is_test))
    job = {
        "id": job_id,
        "status": scenario.status,
        "verified_by": scenario.verified_by,
        "outputs": [_output(scenario, job_id, index, evidence) for index in range(scenario.outputs)],
        "error": None if scenario.error is None else {"code": scenario.error},
        "provider_task_id": None if answered else f"t{number}",
    }
    end = f"job.{scenario.status}"
    told = [("job.queued", None), ("job.submitted", None), (end, copy.deepcopy(job))]
    events = [_event(job_id, at, kind, shown) for at, (kind, shown) in enumerate(told, 1)]
    verdicts: list[str | None] = ["mock"] if scenario.is_test else [] if answered else ["confirmed"]
    return Played(scenario, job, events=events, verdicts=verdicts, replayed_as=job_id)


def _event(job_id: str, sequence: int, kind: str, job: dict[str, Any] | None) -> dict[str, Any]:
    return {"id": f"evt_{job_id}_{sequence}", "type": kind, "data": {"sequence": sequence, "job": job}}


def _output(scenario: Scenario, job_id: str, index: int, evidence: Evidence) -> dict[str, Any]:
    if scenario.is_test:
        return {"index": index, "kind": "image", "status": "mock", "key": None}
    key = f"renders/{job_id}/{index:02}.jpeg"
    body = _draw(key)
    evidence.objects[key] = body
    return {
        "index": index,
        "kind": "image",
        "status": "stored",
        "media_type": "image/jpeg",
        "bytes": len(body),
        "width": 48,
        "height": 32,
        "sha256": hashlib.sha256(body).hexdigest(),
        "key": key,
    }


def _draw(seed: str) -> bytes:
    file = io.BytesIO()
    color = random.Random(seed).randbytes(3)
    Image.new("RGB", (48, 32), (color[0], color[1], color[2])).save(file, "JPEG")
    return file.getvalue()


def _check(provider: str, evidence: Evidence) -> WebhookCheck:
    statuses = ("TASK_STATUS_SUCCEED", "TASK_STATUS_FAILED")
    jobs: list[dict[str, Any]] = [
        {"id": f"job_{provider}_{status}", "outputs": [], "provider_task_id": f"t-{provider}-{status}"}
        for status in statuses
    ]
    if provider == "novita":
        for job in jobs:
            line = submit_of(find(evidence, "novita txt2img lighthouse").scenario, job["provider_task_id"], test=True)
            evidence.submits.append({**line, "prompt": "the example's own"})
    steps = [{"step": step, "ok": True, "code": None, "return_task_status": s} for s in statuses for step in STEPS]
    return WebhookCheck({"provider": provider, "operation": "x", "ok": True, "seconds": 0.5, "steps": steps}, jobs)
