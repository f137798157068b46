"""Trying a subscription out: one event of no job, sent as every delivery is, and what came of it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from service.events.body import encode, event_json
from service.events.letter import Channel, Letter
from service.events.subscription import Subscription
from service.events.types import TEST
from service.ids import new_uuid, show

AT_ONCE, _OF_ACCOUNT = 32, 4


class TrialsBusyError(Exception):
    """Enough are tried already; says what the limit is."""


class Trials:
    """The tests of subscriptions of one process: one of a subscription at a time, four of an account, 32 in all.

    channels: by `url` and `sink`, with connections of their own: whoever tests an endpoint that does not answer again and
    again must not take those of deliveries. source: what the events name as their own.
    """

    def __init__(self, channels: Mapping[str, Channel], source: str) -> None:
        self._channels, self._source = channels, source
        self._running: set[UUID] = set()
        self._of: Counter[UUID] = Counter()

    async def test(self, subscription: Subscription) -> dict[str, Any]:
        """Send a `subscription.test` once, whether the subscription is enabled or not; nothing of it is kept.

        Returns what came of it; raises TrialsBusyError.
        """
        with self._place(subscription):
            return await _try(self._channels, subscription, self._source)

    @contextmanager
    def _place(self, subscription: Subscription) -> Iterator[None]:
        account_id = subscription.account_id
        if subscription.id in self._running:
            raise TrialsBusyError("this subscription is being tested")
        if self._of[account_id] >= _OF_ACCOUNT:
            raise TrialsBusyError(
                f"{_OF_ACCOUNT} subscriptions of the account are being tested, and no more are at a time"
            )
        if len(self._running) >= AT_ONCE:
            raise TrialsBusyError("too many subscriptions are being tested")
        self._running.add(subscription.id)
        self._of[account_id] += 1
        try:
            yield
        finally:
            self._running.remove(subscription.id)
            self._of[account_id] -= 1
            if not self._of[account_id]:
                del self._of[account_id]


async def _try(channels: Mapping[str, Channel], subscription: Subscription, source: str) -> dict[str, Any]:
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
