"""Who signs for whom: a subscription's own secret, or the account's for its jobs' `webhook`; the account's ed25519 key always.

Nothing is decrypted or asked for twice without need, and a rotation still reaches every process soon. A subscription's secret
comes with its row, so what is remembered is remembered by the encrypted bytes: a new secret is other bytes. What is the
account's is read anew every `TRUST_SECONDS` while something is delivered, and at once in the process that rotated it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from service.crypto import Keyring, UndecryptableError
from service.db.pool import Pool
from service.db.sql import queries
from service.events.signing import Signer, make_key, read_key, read_secret
from service.events.signing_secrets import (
    MOST_SECRETS,
    SecretView,
    SigningSecret,
    open_secrets,
    rotated,
    seal_new_secret,
    seal_secrets,
    view,
)
from service.events.subscription import Subscription
from service.ids import new_uuid, show

TRUST_SECONDS = 2.0
_MOST_REMEMBERED = 10_000
T = TypeVar("T")


class NotSignedError(LookupError):
    """There is no such subscription of this account, or it is one that is not signed for (a sink)."""


def _now() -> datetime:
    return datetime.now(UTC)


class Signers:
    """Lends the signer of a subscription; remembers up to 10,000 secrets, keys and accounts."""

    def __init__(self, pool: Pool, keyring: Keyring) -> None:
        self._pool = pool
        self._keyring = keyring
        self._opened: dict[Hashable, Any] = {}
        self._accounts: dict[UUID, tuple[float, asyncio.Task[Any]]] = {}

    async def of(self, subscription: Subscription) -> Signer:
        """Return who signs for a subscription right now; not to be kept.

        Raises UndecryptableError when GENRELAY_SECRET_KEY lacks the key, and NotSignedError for a sink.
        """
        if subscription.url is None:
            raise NotSignedError("a sink is not signed for")
        signing = await self._signing(subscription.account_id)
        sealed = signing["webhook_signing"] if subscription.origin == "job" else subscription.signing
        if sealed is None:
            raise NotSignedError("the subscription has no secret")
        now = _now()
        secrets = tuple(raw for raw, secret in self._secrets(sealed) if secret.signs(now))
        ends = zip(signing["keys"], signing["key_ends"], strict=True)
        keys = [self._key(sealed_key, end) for sealed_key, end in ends if end is None or now < end]
        return Signer(secrets, tuple(key for key in keys if key is not None))

    def forget(self, account_id: UUID) -> None:
        """Read what is an account's anew the next time."""
        self._accounts.pop(account_id, None)

    async def _signing(self, account_id: UUID) -> Any:
        known = self._accounts.get(account_id)
        if known is None or time.monotonic() >= known[0]:
            if len(self._accounts) >= _MOST_REMEMBERED:
                self._accounts.clear()
            # Read once for everybody who needs it meanwhile, whoever of them is canceled.
            task = asyncio.create_task(read_signing(self._pool, self._keyring, account_id))
            known = self._accounts[account_id] = time.monotonic() + TRUST_SECONDS, task
        try:
            return await asyncio.shield(known[1])
        except Exception:
            if self._accounts.get(account_id) is known:
                self.forget(account_id)
            raise

    def _secrets(self, sealed: bytes) -> list[tuple[bytes, SigningSecret]]:
        return self._once(
            sealed, lambda: [(read_secret(each.text), each) for each in open_secrets(self._keyring, sealed)]
        )

    def _key(self, sealed: bytes, end: datetime | None) -> Ed25519PrivateKey | None:
        try:
            return self._once(sealed, lambda: read_key(self._keyring.decrypt(sealed)))
        except UndecryptableError:
            # The key in use has to sign. One that is about to end anyway must not keep the new one from it.
            if end is None:
                raise
            return None

    def _once(self, key: Hashable, make: Callable[[], T]) -> T:
        found: T | None = self._opened.get(key)
        if found is None:
            if len(self._opened) >= _MOST_REMEMBERED:
                self._opened.clear()
            found = self._opened[key] = make()
        return found


async def read_signing(pool: Pool, keyring: Keyring, account_id: UUID) -> Any:
    """Return an account's `webhook_signing`, `keys` and `key_ends`, each made if it is missing."""
    row = await queries().get_signing(pool, account_id=account_id)
    if row["webhook_signing"] is not None and None in row["key_ends"]:
        return row
    await queries().put_webhook_signing(pool, account_id=account_id, sealed=seal_new_secret(keyring))
    await _add_key(pool, keyring, account_id)
    return await queries().get_signing(pool, account_id=account_id)


async def signing_key_id(pool: Pool, keyring: Keyring, account_id: UUID) -> str:
    """Return the id of the account's ed25519 key, `key_…`, which is made if it is missing: the `kid` in the key set."""
    found: UUID | None = await queries().signing_key_in_use(pool, account_id=account_id)
    while found is None:
        await _add_key(pool, keyring, account_id)
        found = await queries().signing_key_in_use(pool, account_id=account_id)
    return show("key", found)


async def rotate_signing_key(pool: Pool, keyring: Keyring, account_id: UUID, grace_seconds: int) -> str:
    """Make a new ed25519 key for an account; those before it sign for so long, and not longer than they were to.

    Returns the new one's id, `key_…`.
    """
    async with pool.acquire() as connection, connection.transaction():
        await queries().lock_account(connection, account_id=account_id)
        await queries().end_signing_keys(connection, account_id=account_id, grace_seconds=grace_seconds)
        await queries().drop_signing_keys(connection, account_id=account_id, kept=MOST_SECRETS - 1)
        return show("key", await _add_key(connection, keyring, account_id))


async def _add_key(connection: Any, keyring: Keyring, account_id: UUID) -> UUID:
    text, key_id = make_key(), new_uuid()
    public = read_key(text).public_key().public_bytes_raw()
    await queries().add_signing_key(
        connection, id=key_id, account_id=account_id, public=public, secret=keyring.encrypt(text)
    )
    return key_id


def subscription_secret(keyring: Keyring, subscription: Subscription) -> SecretView:
    """Return a subscription's secret; raises UndecryptableError, and NotSignedError for a sink and a job's webhook."""
    if subscription.signing is None:
        raise NotSignedError("the subscription has no secret of its own")
    return view(open_secrets(keyring, subscription.signing), _now())


async def rotate_subscription_secret(
    pool: Pool,
    keyring: Keyring,
    account_id: UUID,
    subscription_id: UUID,
    grace_seconds: int,
    own_secret: str | None = None,
) -> SecretView:
    """Give a subscription a new secret; the ones before sign for `grace_seconds` more (0 to MOST_GRACE_SECONDS).

    Raises BadSecretError for an own secret that is none, NotSignedError when there is nothing of this account to rotate.
    """
    async with pool.acquire() as connection, connection.transaction():
        row = await queries().lock_subscription_signing(connection, account_id=account_id, id=subscription_id)
        if row is None:
            raise NotSignedError("no such subscription that is signed for")
        secrets = rotated(_readable(keyring, row["signing"]), _now(), grace_seconds, own_secret)
        sealed = seal_secrets(keyring, secrets)
        await queries().set_subscription_signing(connection, id=subscription_id, sealed=sealed)
    return view(secrets, _now())


async def account_secret(pool: Pool, keyring: Keyring, account_id: UUID) -> SecretView:
    """Return the secret of an account's own webhooks, those of its jobs; made if it is missing. Raises UndecryptableError."""
    signing = await read_signing(pool, keyring, account_id)
    return view(open_secrets(keyring, signing["webhook_signing"]), _now())


async def rotate_account_secret(
    pool: Pool, keyring: Keyring, account_id: UUID, grace_seconds: int, own_secret: str | None = None
) -> SecretView:
    """Give an account's own webhooks a new secret; as rotate_subscription_secret."""
    async with pool.acquire() as connection, connection.transaction():
        sealed = await queries().lock_webhook_signing(connection, account_id=account_id)
        secrets = rotated(_readable(keyring, sealed), _now(), grace_seconds, own_secret)
        await queries().set_webhook_signing(connection, account_id=account_id, sealed=seal_secrets(keyring, secrets))
    return view(secrets, _now())


def _readable(keyring: Keyring, sealed: bytes | None) -> list[SigningSecret]:
    """Return the secrets of before, none if they can't be read any more: a rotation is the way out of that."""
    try:
        return [] if sealed is None else open_secrets(keyring, sealed)
    except UndecryptableError:
        return []
