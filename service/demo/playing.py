"""Playing the batch: submit it, wait for its end, have the webhooks checked, and ask everybody what they know."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx

from service.demo.evidence import Evidence, Played, WebhookCheck
from service.demo.failures import DemoFailed
from service.demo.scenarios import Scenario
from service.demo.stage import BUCKET, Stage

_END_SECONDS = 45.0
_VERDICT_SECONDS = 15.0
_CHECK_SECONDS = 65.0
_DELIVERY_SECONDS = 15.0
_PAUSE = 0.1


def submit_all(stage: Stage, scenarios: list[Scenario]) -> list[Played]:
    """Submit the whole batch."""
    return [_submit(stage.client, scenario) for scenario in scenarios]


def _submit(client: httpx.Client, scenario: Scenario) -> Played:
    headers = {"Idempotency-Key": f"demo-{scenario.label}"} if scenario.replayed else {}
    answer = client.post("/v1/jobs", json=scenario.body, headers=headers)
    said = answer.json()
    if answer.status_code != 202:
        return Played(scenario, None, refusal=said)
    played = Played(scenario, said)
    if scenario.replayed:
        again = client.post("/v1/jobs", json=scenario.body, headers=headers)
        played.replayed_as = again.json().get("id") if again.headers.get("Idempotency-Replayed") == "true" else None
    return played


def check_webhooks(stage: Stage, provider: str) -> WebhookCheck:
    """Have the service find out whether a provider's callbacks arrive; raises DemoFailed when it does not say."""
    answer = stage.client.post("/v1/webhook-checks", json={"provider": provider}, timeout=_CHECK_SECONDS)
    if answer.status_code != 200:
        raise DemoFailed(f"the webhook check was answered with {answer.status_code}", hint=answer.text[:500])
    report = answer.json()
    ids = dict.fromkeys(step["job_id"] for step in report["steps"] if step["job_id"])
    return WebhookCheck(report, [stage.client.get(f"/v1/jobs/{job_id}").raise_for_status().json() for job_id in ids])


def wait_for_ends(stage: Stage, played: list[Played], look: Callable[[list[Played]], None]) -> None:
    """Wait until every job has ended, and let `look` see how far they are; after 45 s it stays as it is then."""
    deadline = time.monotonic() + _END_SECONDS
    while True:
        found = {job["id"]: job for job in _list(stage.client, "/v1/jobs")}
        for one in played:
            one.job = None if one.job is None else found.get(one.job["id"], one.job)
        look(played)
        if all(one.ended for one in played) or time.monotonic() > deadline:
            return
        time.sleep(_PAUSE)


def gather(stage: Stage, played: list[Played], webhook_checks: list[WebhookCheck]) -> Evidence:
    """Ask everybody."""
    for one in played:
        if one.job is not None:
            path = f"/v1/jobs/{one.job['id']}"
            one.verdicts = _wait_for_verdicts(stage.client, path, one.scenario)
            one.events = _list(stage.client, f"{path}/events")
    submits = httpx.get(f"{stage.sandbox_url}/_sandbox/submits", trust_env=False).json()
    objects = {key: stage.s3.read(BUCKET, key) for key in stage.s3.list_keys(BUCKET)}
    feed = _wait_for_deliveries(stage)
    log = stage.service_log.read_text(encoding="utf-8", errors="replace")
    received = stage.receiver.read(stage.webhook_secret)
    return Evidence(played, submits, objects, log, webhook_checks, feed, received)


def _wait_for_verdicts(client: httpx.Client, path: str, scenario: Scenario) -> list[str | None]:
    """Return the verdicts on a job's callbacks; the last copies of one may come after the job's end."""
    deadline = time.monotonic() + _VERDICT_SECONDS
    while True:
        verdicts: list[str | None] = [callback["verdict"] for callback in _list(client, f"{path}/callbacks")]
        judged = Counter(said for said in verdicts if said is not None)
        if (None not in verdicts and scenario.callbacks(judged)) or time.monotonic() > deadline:
            return verdicts
        time.sleep(_PAUSE)


def _wait_for_deliveries(stage: Stage) -> list[dict[str, Any]]:
    """Return the account's feed once as many events have been delivered; after 15 s as things are then."""
    deadline = time.monotonic() + _DELIVERY_SECONDS
    while True:
        feed = _list(stage.client, "/v1/events")
        if stage.receiver.count() >= len(feed) or time.monotonic() > deadline:
            return feed
        time.sleep(_PAUSE)


def _list(client: httpx.Client, path: str) -> list[dict[str, Any]]:
    """Return everything that a list has, whatever the number of its pages."""
    found: list[dict[str, Any]] = []
    parameters: dict[str, Any] = {"limit": 100}
    while True:
        page = client.get(path, params=parameters).raise_for_status().json()
        found += page["data"]
        if not page["has_more"]:
            return found
        parameters["cursor"] = page["next_cursor"]
