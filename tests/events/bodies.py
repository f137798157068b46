"""Events of every type, as they are sent, and subscriptions that are signed for."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg

from service.crypto import Keyring
from service.db.pool import Pool
from service.events.body import encode, event_json, thin
from service.events.signing_secrets import seal_new_secret
from service.events.subscription import Subscription, read_subscription
from service.events.types import ACCOUNT_TYPES, JOB_TYPES, TEST
from service.ids import new_uuid, show

NOW = datetime(2026, 11, 21, 8, 30, 0, 123456, tzinfo=UTC)


def make_event(event_type: str, prompt: str = "a lighthouse at dawn") -> dict[str, Any]:
    """Return an event of any type."""
    of_job = event_type in JOB_TYPES
    job_id = new_uuid() if of_job else None
    job = {
        "id": show("job", job_id or new_uuid()),
        "object": "job",
        "status": "running",
        "metadata": {"prompt": prompt},
    }
    return event_json(
        {
            "id": new_uuid(),
            "type": event_type,
            "job_id": job_id,
            "subject": "acme",
            "time": NOW,
            "source": "https://genrelay.example",
            "data": {"sequence": 3, "job": job} if of_job else {"subscription": {"status": "disabled"}},
        }
    )


EVERY_TYPE = (*JOB_TYPES, *ACCOUNT_TYPES, TEST)


def bodies_of(event_type: str) -> list[bytes]:
    """Return the bytes of an event of a type, full and thin."""
    event = make_event(event_type)
    return [encode(event), encode(thin(event))]


async def add_account(pool: Pool, name: str = "somebody") -> UUID:
    """Make an account."""
    account = new_uuid()
    await pool.execute("INSERT INTO accounts (id, name) VALUES ($1, $2)", account, name)
    return account


async def add_subscription(
    pool: Pool, keyring: Keyring, account: UUID, url: str = "https://a.example/hooks", origin: str = "api"
) -> Subscription:
    """Make a webhook subscription."""
    found = new_uuid()
    await pool.execute(
        "INSERT INTO subscriptions (id, account_id, origin, url, event_types, signing) VALUES ($1, $2, $3, $4, '{*}', $5)",
        *(found, account, origin, url, seal_new_secret(keyring) if origin == "api" else None),
    )
    return await get_subscription(pool, found)


async def get_subscription(pool: Pool | asyncpg.Connection[asyncpg.Record], found: UUID) -> Subscription:
    """Return a subscription as a claim reads it."""
    row = await pool.fetchrow(
        "SELECT subscriptions.*, accounts.name AS account_name, accounts.external_id FROM subscriptions"
        " JOIN accounts ON accounts.id = account_id WHERE subscriptions.id = $1",
        found,
    )
    assert row is not None
    return read_subscription(row)
