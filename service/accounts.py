"""Accounts and their API keys; a key is shown once, and only its digest is kept."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

import structlog

from service.db.pool import DATABASE_AWAY, Pool
from service.db.sql import queries
from service.ids import new_uuid, read, show

log = structlog.get_logger()

_PREFIX = "gr_"
_TRUST_SECONDS = 2.0  # a revoked key may open the door for so long on a replica that has just seen it
_DISTRUST_SECONDS = 1.0  # a wrong key is not looked up again for so long
_MOST_REMEMBERED = 10_000
# Keys that were not good a moment ago: however many somebody tries, they leave most connections to those who have one.
_STRANGERS_AT_ONCE, _MOST_STRANGERS = 4, 1000


def _digest(key: str) -> bytes:
    # A key has 256 bits of randomness of its own, so a plain digest can't be searched.
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


T = TypeVar("T")


def _remember(remembered: dict[bytes, T], digest: bytes, value: T) -> None:
    if len(remembered) >= _MOST_REMEMBERED:
        remembered.clear()
    remembered[digest] = value


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """An API key as it is listed."""

    id: str
    account: str
    hint: str
    created_at: datetime
    last_used_at: datetime | None  # to the hour
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class Holder:
    """Whose key it is. limits: the account's own, by their names in the settings."""

    account_id: UUID
    limits: Mapping[str, Any]


class AccountErasedError(Exception):
    """The account is being erased; its name is free again once nothing is left of it."""


class TooManyStrangersError(Exception):
    """More unknown keys wait to be looked up than may."""


class Accounts:
    """Whose key is it? Remembers good answers for two seconds, bad ones for one; looks a key up once for all who bring it."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._seen: dict[bytes, tuple[Holder, float]] = {}
        self._refused: dict[bytes, float] = {}
        self._asking: dict[bytes, asyncio.Task[Holder | None]] = {}
        self._strangers = asyncio.Semaphore(_STRANGERS_AT_ONCE)
        self._waiting = 0

    async def authenticate(self, key: str) -> UUID | None:
        """Return the account of a key, None for an unknown or revoked one."""
        holder = await self.find_holder(key)
        return None if holder is None else holder.account_id

    async def find_holder(self, key: str) -> Holder | None:
        """Return whose key it is, None for an unknown or revoked one. Raises TooManyStrangersError."""
        digest, now = _digest(key), time.monotonic()
        seen = self._seen.get(digest)
        if seen is not None and now < seen[1]:
            return seen[0]
        if now < self._refused.get(digest, 0.0):
            return None
        asking = self._asking.get(digest)
        if asking is None:
            # One that was good a moment ago does not stand in line behind those who try keys.
            asking = asyncio.create_task(self._ask_for_stranger(digest) if seen is None else self._look_up(digest))
            self._asking[digest] = asking
            asking.add_done_callback(lambda _: self._asking.pop(digest, None))
        return await asyncio.shield(asking)

    def forget(self, account_id: UUID) -> None:
        """Trust no key of an account any longer without looking it up: it is being erased, or one of them was revoked."""
        self._seen = {digest: seen for digest, seen in self._seen.items() if seen[0].account_id != account_id}

    def _ask_for_stranger(self, digest: bytes) -> Coroutine[Any, Any, Holder | None]:
        if self._waiting >= _MOST_STRANGERS:
            raise TooManyStrangersError
        self._waiting += 1
        return self._stand_in_line(digest)

    async def _stand_in_line(self, digest: bytes) -> Holder | None:
        try:
            async with self._strangers:
                return await self._look_up(digest)
        finally:
            self._waiting -= 1

    async def _look_up(self, digest: bytes) -> Holder | None:
        row = await queries().account_of_key(self._pool, digest=digest)
        if row is None:
            self._seen.pop(digest, None)
            _remember(self._refused, digest, time.monotonic() + _DISTRUST_SECONDS)
            return None
        holder = Holder(row["account_id"], row["limits"])
        _remember(self._seen, digest, (holder, time.monotonic() + _TRUST_SECONDS))
        if row["unnoted"]:
            # A database that can be read but not written to keeps nobody out.
            with suppress(*DATABASE_AWAY):
                await queries().note_use_of_key(self._pool, id=row["key_id"])
        return holder

    async def create_key(self, account: str) -> tuple[str, str]:
        """Make a key of an account, and the account if it is new; returns id and key, the latter for the only time.

        Raises AccountErasedError.
        """
        key = _PREFIX + secrets.token_urlsafe(32)
        return await self.add_key(account, key), key

    async def add_key(self, account: str, key: str) -> str:
        """Let a given key open an account; returns its id. Adding it twice changes nothing. Raises AccountErasedError."""
        account_id = await queries().ensure_account(self._pool, id=new_uuid(), name=account)
        key_id = new_uuid()
        hint = f"{key[:6]}…"
        await queries().insert_api_key(self._pool, id=key_id, account_id=account_id, digest=_digest(key), hint=hint)
        if await queries().is_being_erased(self._pool, account_id=account_id) is not False:
            raise AccountErasedError
        self._refused.clear()
        return show("key", key_id)

    async def bootstrap(self, key: str) -> None:
        """Let the key from the settings open the account `default`, and no other that stood there before.

        While that account is being erased it opens nothing: the first start after that makes a new one.
        """
        account_id = await queries().ensure_account(self._pool, id=new_uuid(), name="default")
        await queries().bootstrap_api_key(
            self._pool, id=new_uuid(), account_id=account_id, digest=_digest(key), hint=f"{key[:6]}…"
        )
        if await queries().is_being_erased(self._pool, account_id=account_id):
            log.warning(
                "account.being_erased",
                account="default",
                reason="GENRELAY_BOOTSTRAP_API_KEY opens nothing until `genrelay accounts list` does not show it any more and"
                " the service is started again",
            )

    async def list_keys(self) -> list[KeyInfo]:
        """Return every key, oldest first."""
        rows = queries().list_api_keys(self._pool)
        return [
            KeyInfo(
                show("key", row["id"]),
                row["account"],
                row["hint"],
                row["created_at"],
                row["last_used_at"],
                row["revoked_at"],
            )
            async for row in rows
        ]

    async def revoke_key(self, key_id: str) -> bool:
        """Revoke a key by its id; False when there is no such key, or it was revoked before. Raises BadId."""
        revoked = await queries().revoke_api_key(self._pool, id=read("key", key_id)) is not None
        self._seen.clear()
        return revoked
