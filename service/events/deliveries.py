"""Deliveries as they are read: one with its attempts, and lists of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from service.db.pool import Connection, Pool
from service.db.sql import queries
from service.ids import show
from service.jobs.model import moment

STATUSES = ("pending", "delivered", "failed", "canceled")


@dataclass(frozen=True, slots=True)
class DeliveryFilter:
    """Which deliveries a list shows; None: all."""

    job_id: UUID | None = None
    subscription_id: UUID | None = None
    status: str | None = None
    event_type: str | None = None


async def list_deliveries(
    pool: Pool, account_id: UUID, wanted: DeliveryFilter, before: UUID | None, limit: int
) -> list[Any]:
    """Return rows of an account's deliveries, newest first. before: the last one of the page before."""
    given = {
        "account_id": account_id,
        "status": wanted.status,
        "event_type": wanted.event_type,
        "before": before,
        "limit": limit,
    }
    # Each has an index to go by.
    if wanted.subscription_id is not None:
        rows = queries().list_deliveries_of_subscription(
            pool, subscription_id=wanted.subscription_id, job_id=wanted.job_id, **given
        )
    elif wanted.job_id is not None:
        rows = queries().list_deliveries_of_job(pool, job_id=wanted.job_id, **given)
    else:
        rows = queries().list_deliveries(pool, **given)
    return [row async for row in rows]


async def find_delivery(pool: Pool, account_id: UUID, delivery_id: UUID) -> dict[str, Any] | None:
    """Return a delivery of the account as the API shows it alone, with its attempts."""
    row = await queries().get_delivery(pool, id=delivery_id, account_id=account_id)
    if row is None:
        return None
    attempts = queries().list_delivery_attempts(pool, delivery_id=delivery_id)
    return {**delivery_json(row), "attempts": [attempt_json(attempt) async for attempt in attempts]}


async def count_deliveries(connection: Connection | Pool, job_ids: Sequence[UUID]) -> dict[UUID, dict[str, Any]]:
    """Return what jobs show of their deliveries: how many there are, by status. A job without any is not in it."""
    rows = queries().count_deliveries_of_jobs(connection, job_ids=list(job_ids))
    return {row["job_id"]: {"deliveries": {status: row[status] for status in STATUSES}} async for row in rows}


def delivery_json(row: Any) -> dict[str, Any]:
    """Return a row of `deliveries` as the API shows it."""
    shown, subscription = show("dlv", row["id"]), show("sub", row["subscription_id"])
    return {
        "id": shown,
        "object": "delivery",
        "event_id": show("evt", row["event_id"]),
        "event_type": row["type"],
        "job_id": None if row["job_id"] is None else show("job", row["job_id"]),
        "subscription_id": subscription,
        "payload": row["payload"],
        "status": row["status"],
        "reason": row["reason"],
        "attempt_count": row["attempts"],
        "response_status": row["response_status"],
        "next_attempt_at": moment(row["due_at"]),
        "created_at": moment(row["created_at"]),
        "ended_at": moment(row["ended_at"]),
        "links": {
            "self": f"/v1/deliveries/{shown}",
            "resend": f"/v1/deliveries/{shown}/resend",
            "subscription": f"/v1/subscriptions/{subscription}",
        },
    }


def attempt_json(row: Any) -> dict[str, Any]:
    """Return a row of `delivery_attempts` as the API shows it."""
    return {
        "number": row["number"],
        "started_at": moment(row["started_at"]),
        "duration_ms": round(row["seconds"] * 1000),
        "outcome": row["outcome"],
        "response_status": row["status"],
        "error": row["error"],
        "response": (row["response"] or b"").decode("utf-8", "replace"),
    }
