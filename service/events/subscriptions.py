"""Subscriptions: made, shown, changed, stopped. Secrets and headers go in, encrypted; only headers' names come out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal
from uuid import UUID

import structlog

from service.crypto import Keyring
from service.db.pool import Connection, Pool, transaction
from service.db.sql import queries
from service.events.recovery import cancel_pending
from service.events.signing_secrets import seal_new_secret
from service.events.sinks import sink_json
from service.events.subscription import Origin, Subscription, read_subscription
from service.ids import new_uuid, show
from service.jobs.model import moment

log = structlog.get_logger()

_PLAIN = ("url", "sink", "event_types", "filter", "payload", "include_test", "rate_limit", "description")


class SubscriptionRefusedError(Exception):
    """It can't be done to this subscription, or for this account; `code` names the problem."""

    def __init__(self, code: Literal["too_many_subscriptions", "subscription_of_jobs"], message: str) -> None:
        super().__init__(message)
        self.code = code


async def create_subscription(
    pool: Pool, keyring: Keyring, account_id: UUID, fields: Mapping[str, Any], *, most: int
) -> Subscription:
    """Make one. fields: as read_subscription_input returns them. Raises SubscriptionRefusedError."""
    new_id = new_uuid()
    async with transaction(pool) as connection:
        # One at a time counts and adds.
        await queries().lock_account(connection, account_id=account_id)
        if await queries().count_subscriptions(connection, account_id=account_id) >= most:
            raise SubscriptionRefusedError("too_many_subscriptions", f"an account may have {most} subscriptions")
        await queries().insert_subscription(
            connection,
            id=new_id,
            account_id=account_id,
            signing=None if fields["url"] is None else seal_new_secret(keyring),
            **{name: fields[name] for name in _PLAIN},
            **_seal_headers(keyring, fields["headers"]),
            sink_secret=_seal(keyring, fields["sink_secret"]),
        )
        row = await queries().get_subscription(connection, account_id=account_id, id=new_id)
    log.info("subscription.created", subscription_id=show("sub", new_id))
    return read_subscription(row)


async def find_subscription(pool: Pool, account_id: UUID, subscription_id: UUID) -> Subscription | None:
    """Return one of the account's that was not deleted."""
    row = await queries().get_subscription(pool, account_id=account_id, id=subscription_id)
    return None if row is None else read_subscription(row)


async def list_subscriptions(
    pool: Pool, account_id: UUID, origin: Origin, before: UUID | None, limit: int
) -> list[Subscription]:
    """Return an account's, newest first. before: the last one of the page before."""
    rows = queries().list_subscriptions(pool, account_id=account_id, origin=origin, before=before, limit=limit)
    return [read_subscription(row) async for row in rows]


async def change_subscription(
    pool: Pool, keyring: Keyring, account_id: UUID, subscription_id: UUID, changes: Mapping[str, Any]
) -> Subscription | None:
    """Change the fields that are named, as read_subscription_changes returns them; None when it is not there.

    One that goes elsewhere now, or in another way, is not failing any more. Raises SubscriptionRefusedError.
    """
    async with transaction(pool) as connection:
        row = await queries().lock_subscription(connection, account_id=account_id, id=subscription_id)
        if row is None:
            return None
        before = read_subscription(row)
        if before.origin == "job":
            raise SubscriptionRefusedError(
                "subscription_of_jobs",
                "it stands for the webhook of jobs, whose webhook_events_filter and webhook_payload say what it gets",
            )
        headers = {"header_names": before.header_names, "headers": before.headers}
        if "headers" in changes:
            headers = _seal_headers(keyring, changes["headers"])
        secret = _seal(keyring, changes["sink_secret"]) if "sink_secret" in changes else before.sink_secret
        await queries().change_subscription(
            connection,
            id=subscription_id,
            **{name: changes.get(name, getattr(before, name)) for name in _PLAIN},
            **headers,
            sink_secret=secret,
            moved=changes.get("url", before.url) != before.url or "sink" in changes or "headers" in changes,
        )
        return await _read_again(connection, before)


async def enable_subscription(pool: Pool, account_id: UUID, subscription_id: UUID) -> Subscription | None:
    """Deliver to it again, from now on, as if nothing had failed; None when it is not there."""
    async with transaction(pool) as connection:
        before = await _lock(connection, account_id, subscription_id)
        if before is None:
            return None
        await queries().enable_subscription(connection, id=subscription_id)
        return await _read_again(connection, before)


async def disable_subscription(pool: Pool, account_id: UUID, subscription_id: UUID) -> Subscription | None:
    """Deliver nothing to it; what is on its way to it is canceled. None when it is not there."""
    async with transaction(pool) as connection:
        before = await _lock(connection, account_id, subscription_id)
        if before is None:
            return None
        await queries().disable_subscription(connection, id=subscription_id, reason="asked")
        await cancel_pending(connection, subscription_id, "disabled")
        return await _read_again(connection, before)


async def delete_subscription(pool: Pool, account_id: UUID, subscription_id: UUID) -> bool:
    """Delete it with its secrets, and cancel what is on its way to it; False when it is not there."""
    async with transaction(pool) as connection:
        if await _lock(connection, account_id, subscription_id) is None:
            return False
        await queries().delete_subscription(connection, id=subscription_id)
        await cancel_pending(connection, subscription_id, "deleted")
    log.info("subscription.deleted", subscription_id=show("sub", subscription_id))
    return True


def subscription_json(subscription: Subscription, signing_key_id: str) -> dict[str, Any]:
    """Return a subscription as the API shows it. signing_key_id: of its account's ed25519 key."""
    shown = show("sub", subscription.id)
    path = f"/v1/subscriptions/{shown}"
    return {
        "id": shown,
        "object": "subscription",
        "url": subscription.url,
        "sink": None if subscription.sink is None else sink_json(subscription.sink, subscription.external_id),
        "event_types": subscription.event_types,
        "filter": subscription.filter,
        "payload": subscription.payload,
        "include_test": subscription.include_test,
        "header_names": subscription.header_names,
        "rate_limit": subscription.rate_limit,
        "description": subscription.description,
        "status": "enabled" if subscription.disabled_at is None else "disabled",
        "disabled_at": moment(subscription.disabled_at),
        "disabled_reason": subscription.disabled_reason,
        "failing_since": moment(subscription.failing_since),
        "open_until": moment(subscription.open_until),
        "last_success_at": moment(subscription.last_success_at),
        "signing_key_id": None if subscription.url is None else signing_key_id,
        "created_at": moment(subscription.created_at),
        "updated_at": moment(subscription.updated_at),
        "links": {
            "self": path,
            "secret": f"{path}/secret",
            "test": f"{path}/test",
            "deliveries": f"{path}/deliveries",
        },
    }


def open_headers(keyring: Keyring, subscription: Subscription) -> dict[str, str]:
    """Return a subscription's headers; raises UndecryptableError."""
    if subscription.headers is None:
        return {}
    headers: dict[str, str] = json.loads(keyring.decrypt(subscription.headers))
    return headers


async def _lock(connection: Connection, account_id: UUID, subscription_id: UUID) -> Subscription | None:
    row = await queries().lock_subscription(connection, account_id=account_id, id=subscription_id)
    return None if row is None else read_subscription(row)


async def _read_again(connection: Connection, before: Subscription) -> Subscription:
    row = await queries().get_subscription(connection, account_id=before.account_id, id=before.id)
    return read_subscription(row)


def _seal_headers(keyring: Keyring, headers: Mapping[str, str]) -> dict[str, Any]:
    return {"header_names": list(headers), "headers": _seal(keyring, dict(headers) or None)}


def _seal(keyring: Keyring, secret: Mapping[str, Any] | None) -> bytes | None:
    return None if secret is None else keyring.encrypt(json.dumps(secret))
