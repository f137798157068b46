"""Is all as it should be? Each check looks at the evidence and lists what is wrong; an empty list is a pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from service.demo.bucket import find_lost, find_remains_of_tests, find_strays
from service.demo.ends import find_gaps, find_missing_operations, find_wrong_ends
from service.demo.evidence import Evidence, callback_tokens
from service.demo.hearing import find_unheard
from service.demo.ledger import find_wrong_payments
from service.providers.registry import PROVIDERS


@dataclass(frozen=True)
class Check:
    """One thing that was checked, and what is wrong with it."""

    claim: str
    mistakes: list[str]

    @property
    def ok(self) -> bool:
        """Tell whether it holds."""
        return not self.mistakes


def check_all(evidence: Evidence, hidden: tuple[str, ...]) -> list[Check]:
    """Return what was checked; hidden: texts that must not be in the log."""
    found = [Check(claim, list(check(evidence))) for claim, check in _list_checks(evidence)]
    return [*found, Check("no secret is in the service's log", list(_leaks(evidence, hidden)))]


def _list_checks(evidence: Evidence) -> list[tuple[str, Callable[[Evidence], Iterator[str]]]]:
    stored = sum(len(one.stored) for one in evidence.played)
    paid = sum(not line["test"] for line in evidence.submits)
    events = sum(len(one.events or ()) for one in evidence.played)
    tests = len(evidence.test_jobs)
    operations = sum(len(provider.operations) for provider in PROVIDERS.values())
    names = " and ".join(PROVIDERS)
    claim_of_payments = (
        f"nothing was paid twice: {paid} paid submits in the provider's ledger, one for each job that ran"
    )
    claim_of_tests = f"the {tests} test jobs, those of the webhook checks too, cost nothing and copied nothing"
    claim_of_hearing = (
        f"a subscriber got all {len(evidence.feed)} events of the feed, signed, with the same bodies, and no others"
    )
    return [
        (f"each of the {len(evidence.played)} submits ended as it should", find_wrong_ends),
        (f"all {operations} operations of {names} ran to a stored object", find_missing_operations),
        (claim_of_payments, find_wrong_payments),
        (f"all {stored} outputs are in the bucket, byte for byte as the API says", find_lost),
        (claim_of_tests, find_remains_of_tests),
        ("nothing else is in the bucket", find_strays),
        (f"all {events} events are numbered without gaps, and each job has one end, the last of them", find_gaps),
        (claim_of_hearing, find_unheard),
        (f"the callbacks of {names} arrive: every step of their webhook checks", _find_failed_steps),
    ]


def _find_failed_steps(evidence: Evidence) -> Iterator[str]:
    for name in PROVIDERS.keys() - {check.provider for check in evidence.webhook_checks}:
        yield f"{name}: not checked"
    for check in evidence.webhook_checks:
        failed = [step for step in check.report["steps"] if step["ok"] is False]
        yield from (f"{check.provider}: {step['step']} failed: {step['code']}" for step in failed)
        if not failed and not check.report["ok"]:
            yield f"{check.provider}: not ok, and no step says why"


def _leaks(evidence: Evidence, hidden: tuple[str, ...]) -> Iterator[str]:
    if any(secret in evidence.log for secret in hidden):
        yield "a key is in the log"
    if any(token in evidence.log for token in callback_tokens(evidence.submits)):
        yield "a callback's token is in the log"
    if "X-Amz-Signature" in evidence.log:
        yield "a signed URL is in the log"
