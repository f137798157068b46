"""What is known about the batch afterwards: what service, provider, bucket and log said."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from service.demo.receiver import Received
from service.demo.scenarios import Scenario

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

    @property
    def outputs(self) -> list[dict[str, Any]]:
        """Return the job's outputs, mocks too."""
        return [] if self.job is None else list(self.job["outputs"])

    @property
    def stored(self) -> list[dict[str, Any]]:
        """Return the outputs that are said to be in the bucket."""
        return [output for output in self.outputs if output["status"] == "stored"]


@dataclass(frozen=True)
class WebhookCheck:
    """What `POST /v1/webhook-checks` said of one provider, and the test jobs that it made."""

    report: dict[str, Any]
    jobs: list[Job]

    @property
    def provider(self) -> str:
        """Return whose callbacks were checked."""
        return str(self.report["provider"])


@dataclass(frozen=True)
class Evidence:
    """Everything that was asked. submits: the provider's ledger. objects: the bucket's content by key. log: the service's.

    feed: the account's events. received: what a subscription to all of them was sent.
    """

    played: list[Played]
    submits: list[dict[str, Any]]
    objects: dict[str, bytes]
    log: str
    webhook_checks: list[WebhookCheck] = field(default_factory=list)
    feed: list[dict[str, Any]] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)

    def paid(self, scenario: Scenario) -> list[dict[str, Any]]:
        """Return the submits of a scenario that would have cost something."""
        return [line for line in self.submits if scenario.owns(line) and not line["test"]]

    @property
    def test_jobs(self) -> list[Job]:
        """Return the jobs that asked for a mock, those of the webhook checks too."""
        played = [one.job for one in self.played if one.scenario.is_test and one.job is not None]
        return [*played, *(job for check in self.webhook_checks for job in check.jobs)]

    @property
    def providers(self) -> list[str]:
        """Return whose jobs were played, in that order."""
        return list(dict.fromkeys(one.scenario.provider for one in self.played))


def callback_tokens(submits: list[dict[str, Any]]) -> list[str]:
    """Return the tokens in the callback URLs that the provider was given."""
    return [str(line["callback_url"]).rpartition("/")[2] for line in submits if line["callback_url"]]
