"""Accounts and their API keys; a key is shown once, and only its digest is kept."""

from __future__ import annotations

import hashlib
import secrets
import time
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from service.db.pool import Pool
from service.db.sql import queries
from service.ids import new_uuid, read, show

_PREFIX = "gr_"
_TRUST_SECONDS = 2.0  # a revoked key may open the door for so long on a replica that has just seen it
_MOST_REMEMBERED = 10_000


def _digest(key: str) -> bytes:
    # A key has 256 bits of randomness of its own, so a plain digest can't be searched.
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """An API key as it is listed."""

    id: str
    account: str
    hint: str
    created_at: datetime
    revoked_at: datetime | None


class Accounts:
    """Whose key is it? Remembers good answers for two seconds."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._seen: dict[bytes, tuple[UUID, float]] = {}

    async def authenticate(self, key: str) -> UUID | None:
        """Return the account of a key, None for an unknown or revoked one."""
        digest = _digest(key)
        seen = self._seen.get(digest)
        if seen is not None and time.monotonic() < seen[1]:
            return seen[0]
        account: UUID | None = await queries().account_of_key(self._pool, digest=digest)
        if account is None:
            self._seen.pop(digest, None)
            return None
        if len(self._seen) >= _MOST_REMEMBERED:
            self._seen.clear()
        self._seen[digest] = account, time.monotonic() + _TRUST_SECONDS
        return account

    async def create_key(self, account: str) -> tuple[str, str]:
        """Make a key of an account, and the account if it is new; returns id and key, the latter for the only time."""
        key = _PREFIX + secrets.token_urlsafe(32)
        return await self.add_key(account, key), key

    async def add_key(self, account: str, key: str) -> str:
        """Let a given key open an account; returns its id. Adding it twice changes nothing."""
        account_id = await queries().ensure_account(self._pool, id=new_uuid(), name=account)
        key_id = new_uuid()
        hint = f"{key[:6]}…"
        await queries().insert_api_key(self._pool, id=key_id, account_id=account_id, digest=_digest(key), hint=hint)
        return show("key", key_id)

    async def bootstrap(self, key: str) -> None:
        """Let the key from the settings open the account `default`, and no other that stood there before."""
        account_id = await queries().ensure_account(self._pool, id=new_uuid(), name="default")
        await queries().bootstrap_api_key(
            self._pool, id=new_uuid(), account_id=account_id, digest=_digest(key), hint=f"{key[:6]}…"
        )

    async def list_keys(self) -> list[KeyInfo]:
        """Return every key, oldest first."""
        rows = queries().list_api_keys(self._pool)
        return [
            KeyInfo(show("key", row["id"]), row["account"], row["hint"], row["created_at"], row["revoked_at"])
            async for row in rows
        ]

    async def revoke_key(self, key_id: str) -> bool:
        """Revoke a key by its id; False when there is no such key, or it was revoked before. Raises BadId."""
        revoked = await queries().revoke_api_key(self._pool, id=read("key", key_id)) is not None
        self._seen.clear()
        return revoked
