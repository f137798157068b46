"""Did each job end in its only right way, and do its events tell it so?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from service.demo.evidence import Evidence, Played
from service.providers.registry import PROVIDERS

_ENDS = {"job.succeeded", "job.failed", "job.canceled"}


def find_mistakes(one: Played) -> list[str]:
    """Return how a scenario's end differs from its only right one."""
    wanted, job = one.scenario, one.job
    if one.status != wanted.status:
        return [f"{one.status} instead of {wanted.status}"]
    if job is None:
        return [] if (one.refusal or {}).get("code") == "invalid_request" else ["refused for another reason"]
    error = None if job["error"] is None else job["error"]["code"]
    pairs = [
        ("verified_by", job["verified_by"], wanted.verified_by),
        ("outputs", len(one.outputs), wanted.outputs),
        ("error", error, wanted.error),
    ]
    mistakes = [f"{name} is {found} instead of {right}" for name, found, right in pairs if found != right]
    if not wanted.callbacks(Counter(str(said) for said in one.verdicts or ())):
        mistakes.append(f"verdicts on callbacks are {one.verdicts}")
    if wanted.replayed and one.replayed_as != job["id"]:
        mistakes.append("the second submit made another job")
    return mistakes


def find_wrong_ends(evidence: Evidence) -> Iterator[str]:
    """Yield what is wrong with any job's end."""
    for one in evidence.played:
        yield from (f"{one.scenario.label}: {mistake}" for mistake in find_mistakes(one))


def find_missing_operations(evidence: Evidence) -> Iterator[str]:
    """Yield every operation of which no job has succeeded with all of its outputs stored."""
    done = {
        (one.scenario.provider, one.scenario.operation.name)
        for one in evidence.played
        if one.status == "succeeded" and one.stored and len(one.stored) == len(one.outputs)
    }
    for provider in PROVIDERS.values():
        for name in provider.operations:
            if (provider.name, name) not in done:
                yield f"{provider.name} {name}: no job of it has come to a stored object"


def find_gaps(evidence: Evidence) -> Iterator[str]:
    """Yield what is wrong with the events of any job."""
    for one in evidence.played:
        if one.job is None:
            continue
        events = one.events or []
        if [event["data"]["sequence"] for event in events] != list(range(1, len(events) + 1)):
            yield f"{one.scenario.label}: the numbers have gaps"
        ends = [number for number, event in enumerate(events, 1) if event["type"] in _ENDS]
        if ends != [len(events)]:
            yield f"{one.scenario.label}: events {ends} of {len(events)} are ends"
        # What has become of deliveries goes on after the end, and is in no event.
        elif events[-1]["data"]["job"] != {
            name: said for name, said in (one.job or {}).items() if name != "deliveries"
        }:
            yield f"{one.scenario.label}: the last event shows another job than the API"
