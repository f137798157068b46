"""Which deliveries this process sends next: due, allowed by their endpoint, and nobody else's for the time of a lease."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from config.settings import DeliverySettings
from service import tracing
from service.db.pool import Pool
from service.db.sql import queries
from service.events.body import encode, event_json, thin
from service.events.letter import Letter
from service.events.subscription import Payload, Subscription, read_subscription
from service.ids import show

# Makes the body that a job's provider would have sent for an event, with its headers; None: the event is sent as it is.
ProviderBody = Callable[[UUID, Mapping[str, Any]], Awaitable[tuple[bytes, dict[str, str]] | None]]

_MARGIN = 10.0  # seconds of a lease beyond what an endpoint may take
_SHARE = 4  # one endpoint has at most a fourth of what is free
_OF_ONE_ACCOUNT = 0.75  # of what a process has under way


@dataclass(frozen=True, slots=True)
class Delivery:
    """A delivery that is this process's to send, until its lease ends (`until`, monotonic).

    number: of this try, from 1; failures: how many of those before the endpoint has failed; forgiven: how many were
    made before it was sent again. event: a row as `event_json` takes
    it.
    """

    id: UUID
    subscription: Subscription
    payload: Payload
    number: int
    failures: int
    forgiven: int
    event_id: UUID
    event: Mapping[str, Any]
    until: float
    traceparent: str | None = None

    @property
    def ours(self) -> int:
        """Return how many of the tries before were not the endpoint's fault."""
        return max(0, self.number - 1 - self.forgiven - self.failures)


@dataclass(frozen=True, slots=True)
class Claimed:
    """What a claim brought.

    next_in: seconds until something else may be due, None if nothing will be by itself. more: something is due that could not
    be taken. pending: anything waits at all. strays: subscriptions that take nothing and have something pending.
    resting: subscriptions that need not be looked at for a while. overdue: seconds for which the longest due has waited.
    """

    deliveries: list[Delivery]
    next_in: float | None
    more: bool
    pending: bool
    strays: list[UUID]
    resting: list[UUID]
    overdue: float


def lease_seconds(settings: DeliverySettings) -> float:
    """Return for how long a claimed delivery is its worker's."""
    return settings.timeout_seconds + _MARGIN


async def claim(pool: Pool, worker_id: UUID, under_way: Counter[UUID], settings: DeliverySettings) -> Claimed:
    """Claim deliveries while there is room. under_way: how many this process has already, by account.

    Accounts take turns. An endpoint that hangs gets a part of the free room only, and an account three quarters of all, so
    some is left for others.
    """
    began = time.monotonic()
    lease = lease_seconds(settings)
    room = settings.concurrency - under_way.total()
    width = min(settings.endpoint_concurrency, max(1, room // _SHARE))
    rows = queries().claim_deliveries(
        pool,
        worker_id=worker_id,
        lease=lease,
        room=room,
        width=width,
        breaker_failures=settings.breaker_failures,
        most_of_account=max(1, int(settings.concurrency * _OF_ONE_ACCOUNT)),
        accounts=list(under_way),
        under_way=list(under_way.values()),
    )
    found = [row async for row in rows]
    first = found[0]
    deliveries = [_read(row, began + lease) for row in found if row["delivery_id"] is not None]
    return Claimed(deliveries, **{name: first[name] for name in _OUTLOOK})


_OUTLOOK = ("next_in", "more", "pending", "strays", "resting", "overdue")


def _read(row: Any, until: float) -> Delivery:
    event = {name: row[name] for name in ("type", "time", "data", "source", "job_id", "sequence", "subject")}
    return Delivery(
        id=row["delivery_id"],
        subscription=read_subscription(row),
        payload=row["delivery_payload"],
        number=row["number"],
        failures=row["charged"],
        forgiven=row["forgiven"],
        event_id=row["event_id"],
        event={**event, "id": row["event_id"]},
        until=until,
        traceparent=row["traceparent"],
    )


async def write_letter(delivery: Delivery, provider_body: ProviderBody) -> Letter:
    """Return what is sent for a delivery; the same bytes at every try, but for a provider's own shape."""
    event = event_json(delivery.event)
    body = encode(thin(event) if delivery.payload == "thin" else event)
    headers: dict[str, str] = {}
    if delivery.payload == "provider" and delivery.event["job_id"] is not None:
        body, headers = await provider_body(delivery.event["job_id"], delivery.event) or (body, headers)
    return Letter(
        delivery_id=show("dlv", delivery.id),
        event_id=event["id"],
        type=event["type"],
        subject=event["subject"],
        source=event["source"],
        sequence=delivery.event["sequence"],
        attempt=delivery.number,
        body=body,
        headers=headers,
        traceparent=tracing.show_current() or delivery.traceparent,
    )
