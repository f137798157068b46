"""Trying a subscription out: one event of no job, sent as every delivery is, and what came of it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from service.events.body import encode, event_json
from service.events.letter import Channel, Letter
from service.events.subscription import Subscription
from service.events.types import TEST
from service.ids import new_uuid, show


async def try_subscription(channels: Mapping[str, Channel], subscription: Subscription, source: str) -> dict[str, Any]:
    """Send a `subscription.test` once, whether the subscription is enabled or not; nothing of it is kept.

    channels: by `url` and `sink`. source: what the event names as its own.
    """
    event = _test_event(subscription, source)
    letter = Letter(
        delivery_id=show("dlv", new_uuid()),
        event_id=event["id"],
        type=TEST,
        subject=event["subject"],
        source=source,
        sequence=None,
        attempt=1,
        body=encode(event),
    )
    began = time.monotonic()
    reply = await channels["url" if subscription.url is not None else "sink"].send(subscription, letter)
    return {
        "ok": reply.outcome == "delivered",
        "response_status": reply.status,
        "error": reply.error,
        "duration_ms": round((time.monotonic() - began) * 1000),
        "response": reply.response.decode("utf-8", "replace"),
        "event": event,
    }


def _test_event(subscription: Subscription, source: str) -> dict[str, Any]:
    shown = show("sub", subscription.id)
    return event_json(
        {
            "id": new_uuid(),
            "source": source,
            "type": TEST,
            "job_id": None,
            "subject": shown,
            "time": datetime.now(UTC),
            "data": {"subscription": {"id": shown, "object": "subscription", "description": subscription.description}},
        }
    )
