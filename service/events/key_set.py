"""The public halves of ed25519 keys, for whoever verifies: a JSON Web Key Set, and an account's own keys.

https://www.rfc-editor.org/rfc/rfc7517 and https://www.rfc-editor.org/rfc/rfc8037, checked 2026-11-21.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from typing import Any
from uuid import UUID

from service.crypto import Keyring
from service.db.pool import Pool
from service.db.sql import queries
from service.events.signers import TRUST_SECONDS, signing_key_id
from service.events.signing import show_public
from service.ids import show
from service.jobs.model import moment

# Everybody may ask for it, so it is bounded; beyond, `?kid=` still finds each.
MOST_KEYS = 10_000


def jwk(key_id: UUID, public: bytes) -> dict[str, str]:
    """Return a public key of 32 bytes as a JSON Web Key."""
    x = base64.urlsafe_b64encode(public).rstrip(b"=").decode()
    return {"kty": "OKP", "crv": "Ed25519", "x": x, "kid": show("key", key_id), "use": "sig", "alg": "EdDSA"}


class KeySet:
    """Every key that signs, those in their grace too, newest first; read from the database at most every two seconds."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._body = b""
        self._until = 0.0
        self._reading = asyncio.Lock()

    async def all(self) -> bytes:
        """Return the key set with everybody's keys, up to MOST_KEYS."""
        async with self._reading:
            if time.monotonic() >= self._until:
                rows = queries().list_public_keys(self._pool, limit=MOST_KEYS)
                self._body = _encode([jwk(row["id"], row["public"]) async for row in rows])
                self._until = time.monotonic() + TRUST_SECONDS
            return self._body

    async def one(self, key_id: UUID) -> bytes:
        """Return the key set with one key, without any when it does not sign."""
        row = await queries().get_public_key(self._pool, id=key_id)
        return _encode([] if row is None else [jwk(row["id"], row["public"])])


def _encode(keys: list[dict[str, str]]) -> bytes:
    return json.dumps({"keys": keys}, separators=(",", ":")).encode()


async def account_key_json(pool: Pool, keyring: Keyring, account_id: UUID) -> dict[str, Any]:
    """Return an account's ed25519 key, made if it is missing, and those before it that still sign."""
    await signing_key_id(pool, keyring, account_id)
    newest, *others = [row async for row in queries().list_signing_keys(pool, account_id=account_id)]
    return {
        "id": show("key", newest["id"]),
        "object": "signing_key",
        "public_key": show_public(newest["public"]),
        "expires_at": None,
        "previous": [{"id": show("key", each["id"]), "expires_at": moment(each["expires_at"])} for each in others],
    }
