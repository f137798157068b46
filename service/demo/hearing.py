"""Did the consumer hear of everything, with the same ids, numbers and bodies, and of nothing else?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from service.demo.evidence import Evidence


def find_unheard(evidence: Evidence) -> Iterator[str]:
    """Yield what the feed, the jobs' own lists and the webhook's receiver do not agree about."""
    feed = {event["id"]: event for event in evidence.feed}
    if len(feed) != len(evidence.feed):
        yield f"the feed has {len(evidence.feed) - len(feed)} events twice"
    yield from _find_unlike(feed, evidence)
    heard = {received.id: received for received in evidence.received}
    for event_id, event in feed.items():
        if event_id not in heard:
            yield f"{_name(event)}: in the feed, and never delivered"
        elif heard[event_id].event != event:
            yield f"{_name(event)}: delivered with another body than the feed's"
    yield from (f"{event_id}: delivered, and not in the feed" for event_id in heard.keys() - feed.keys())
    if forged := sum(not received.verified for received in evidence.received):
        yield f"{forged} deliveries have a signature that does not verify"


def _find_unlike(feed: dict[str, Any], evidence: Evidence) -> Iterator[str]:
    """Yield where a job's own list and the feed differ."""
    for one in evidence.played:
        for event in one.events or ():
            if feed.get(event["id"]) != event:
                yield f"{one.scenario.label}: {_name(event)} is not in the feed as it is in the job's own list"


def _name(event: dict[str, Any]) -> str:
    return f"{event['type']} {event['id']}"
