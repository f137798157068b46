"""What failed or was given up is sent after all: one delivery, or everything since a moment."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import structlog

from service.db.pool import Connection, Pool
from service.db.sql import queries
from service.events.feed import EventGoneError
from service.events.placing import Placer
from service.events.subscription import Subscription
from service.ids import EPOCH, first_id, show

log = structlog.get_logger()

_BATCH = 500
# What is canceled in the transaction that says so; of a larger backlog the claims cancel the rest, batch by batch.
_AT_ONCE = 2000
# How much older than its time an event's id may be: clocks differ, and a transaction takes a moment.
_SLACK = timedelta(minutes=10)


class NoSuchDeliveryError(LookupError):
    """There is no such delivery of this account."""


class NotDeliverableError(Exception):
    """The subscription takes nothing: it is disabled, or deleted."""


async def resend(pool: Pool, account_id: UUID, delivery_id: UUID) -> Any:
    """Have a delivery sent again, whatever became of it, with a schedule of its own; returns its row.

    Raises NoSuchDeliveryError, NotDeliverableError, and EventGoneError when there is nothing left to send.
    """
    row = await queries().resend_delivery(pool, id=delivery_id, account_id=account_id)
    if row is not None:
        return row
    found = await queries().get_delivery(pool, id=delivery_id, account_id=account_id)
    if found is None:
        raise NoSuchDeliveryError
    if not await queries().is_event_kept(pool, id=found["event_id"]):
        raise EventGoneError("the delivery's event is not kept any more")
    raise NotDeliverableError("its subscription is disabled or deleted")


async def recover(pool: Pool, subscription: Subscription, since: datetime, *, kept: float | None = None) -> int:
    """Have everything since a moment sent that failed, was canceled, or was never to be sent; returns how many.

    What was never to be sent are events from while it was disabled, as far as it asks for them now; of a job's `webhook` only
    what exists already is sent, which includes what was canceled at once because it was disabled. In batches: what is committed
    stays so, and nothing is sent twice by asking again.

    Only what is committed by now is found. An event that was written while the subscription was disabled, in a transaction that
    commits after this, is missed: transactions take milliseconds, and asking again with the same `since` brings it. Raises
    NotDeliverableError.

    kept: seconds for which deliveries are kept; what was missed before is not known any more, and not sent. None: for ever.
    """
    if subscription.disabled_at is not None or subscription.deleted_at is not None:
        raise NotDeliverableError("the subscription is disabled or deleted: enable it first")
    count = await _recover_given_up(pool, subscription, since)
    if subscription.origin == "api":
        count += await _deliver_missed(pool, subscription, _begin_of_deliveries(since, kept))
    await queries().tell_of_deliveries(pool)
    log.info("subscription.recovered", subscription_id=show("sub", subscription.id), count=count)
    return count


def _begin_of_deliveries(since: datetime, kept: float | None) -> datetime:
    """Return since when all deliveries are kept: before that, one that is gone looks like one that never was."""
    return since if kept is None else max(since, datetime.now(UTC) - timedelta(seconds=kept) + _SLACK)


async def _recover_given_up(pool: Pool, subscription: Subscription, since: datetime) -> int:
    # New ones come at the end; ours may be the clock that is behind.
    after, until, count = first_id(since), first_id(datetime.now(UTC) + timedelta(days=1)), 0
    while True:
        row = await queries().recover_deliveries(
            pool, subscription_id=subscription.id, since=since, after=after, until=until, limit=_BATCH
        )
        if row["last"] is None:
            return count
        count, after = count + int(row["count"]), row["last"]


async def _deliver_missed(pool: Pool, subscription: Subscription, since: datetime) -> int:
    first = first_id(max(since, EPOCH) - _SLACK)
    await Placer(pool).place()  # whoever wrote the last ones may not have come to it yet
    after, count = await queries().place_before(pool, account_id=subscription.account_id, event_id=first), 0
    while after is not None:
        row = await queries().deliver_missed(
            pool,
            subscription_id=subscription.id,
            account_id=subscription.account_id,
            since=since,
            after=after,
            limit=_BATCH,
        )
        count, after = count + int(row["count"]), row["last"]
        if row["seen"] < _BATCH:
            break
    return count


async def cancel_pending(connection: Connection, subscription_id: UUID, reason: str) -> None:
    """Give up what is pending for a subscription that was disabled or deleted in the same transaction.

    One under way may still turn out delivered. What is beyond the first 2,000 follows a moment later.
    """
    await queries().cancel_deliveries(connection, subscription_id=subscription_id, reason=reason, limit=_AT_ONCE)


async def cancel_strays(pool: Pool, subscription_ids: list[UUID]) -> None:
    """Give up, batch by batch, what is pending for subscriptions that take nothing."""
    await queries().cancel_stray_deliveries(pool, subscription_ids=subscription_ids, limit=_BATCH)
