"""What can be known about the batch afterwards, asked of everybody: service, provider, bucket and log."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx

from service.demo.scenarios import Scenario
from service.demo.stage import BUCKET, Stage

_END_SECONDS = 45.0
_VERDICT_SECONDS = 15.0
_PAUSE = 0.1

Job = dict[str, Any]


@dataclass
class Played:
    """One scenario and what came of it. job: None when the submit was refused, then `refusal` is the answer."""

    scenario: Scenario
    job: Job | None
    refusal: dict[str, Any] | None = None
    replayed_as: str | None = None
    events: list[dict[str, Any]] | None = None
    verdicts: list[str | None] | None = None

    @property
    def status(self) -> str:
        """Return the job's status, or that there is no job."""
        return "refused" if self.job is None else str(self.job["status"])

    @property
    def ended(self) -> bool:
        """Tell whether nothing more will happen to the job."""
        return self.job is None or self.job["completed_at"] is not None


@dataclass(frozen=True)
class Evidence:
    """Everything that was asked. submits: the provider's ledger. objects: the bucket's content by key. log: the service's."""

    played: list[Played]
    submits: list[dict[str, Any]]
    objects: dict[str, bytes]
    log: str

    def paid(self, scenario: Scenario) -> list[dict[str, Any]]:
        """Return the submits of a scenario that would have cost something."""
        return [line for line in self.submits if line["prompt"] == scenario.prompt and not line["test"]]


def submit_all(stage: Stage, scenarios: list[Scenario]) -> list[Played]:
    """Submit the whole batch."""
    return [_submit(stage.client, scenario) for scenario in scenarios]


def _submit(client: httpx.Client, scenario: Scenario) -> Played:
    headers = {"Idempotency-Key": f"demo-{scenario.name}"} if scenario.replayed else {}
    answer = client.post("/v1/jobs", json=scenario.body, headers=headers)
    said = answer.json()
    if answer.status_code != 202:
        return Played(scenario, None, refusal=said)
    played = Played(scenario, said)
    if scenario.replayed:
        again = client.post("/v1/jobs", json=scenario.body, headers=headers)
        played.replayed_as = again.json().get("id") if again.headers.get("Idempotency-Replayed") == "true" else None
    return played


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


def gather(stage: Stage, played: list[Played]) -> Evidence:
    """Ask everybody."""
    for one in played:
        if one.job is not None:
            path = f"/v1/jobs/{one.job['id']}"
            one.verdicts = _wait_for_verdicts(stage.client, path, one.scenario)
            one.events = _list(stage.client, f"{path}/events")
    submits = httpx.get(f"{stage.sandbox_url}/_sandbox/submits", trust_env=False).json()
    objects = {key: stage.s3.read(BUCKET, key) for key in stage.s3.list_keys(BUCKET)}
    return Evidence(played, submits, objects, stage.service_log.read_text(encoding="utf-8", errors="replace"))


def _wait_for_verdicts(client: httpx.Client, path: str, scenario: Scenario) -> list[str | None]:
    """Return the verdicts on a job's callbacks; the last copies of one may come after the job's end."""
    deadline = time.monotonic() + _VERDICT_SECONDS
    while True:
        verdicts: list[str | None] = [callback["verdict"] for callback in _list(client, f"{path}/callbacks")]
        judged = Counter(said for said in verdicts if said is not None)
        if (None not in verdicts and scenario.callbacks(judged)) or time.monotonic() > deadline:
            return verdicts
        time.sleep(_PAUSE)


def _list(client: httpx.Client, path: str) -> list[dict[str, Any]]:
    data: list[dict[str, Any]] = client.get(path, params={"limit": 100}).raise_for_status().json()["data"]
    return data


def callback_tokens(submits: list[dict[str, Any]]) -> list[str]:
    """Return the tokens in the callback URLs that the provider was given."""
    return [str(line["callback_url"]).rpartition("/")[2] for line in submits if line["callback_url"]]
