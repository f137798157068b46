"""Callback tokens: the secret part of the URL that a provider posts to, one per job and attempt.

A token is base64url of the job's UUID, the attempt's number and an HMAC over both and the provider's name. It is checked
without the database, still reads after its key was rotated to a later place, and is worthless for any other job,
attempt or provider.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from typing import NamedTuple
from uuid import UUID

from service.crypto import Keyring

_MAC_BYTES = 20  # 160 bits; with 16 of the job and 3 of the attempt the base64 needs no padding
_ATTEMPT_BYTES = 3
_TEXT_LENGTH = (16 + _ATTEMPT_BYTES + _MAC_BYTES) // 3 * 4


class Claim(NamedTuple):
    """What a good token says."""

    job_id: UUID
    attempt: int


def _token(key: bytes, provider: str, named: bytes) -> str:
    mac = hmac.digest(key, provider.encode() + b"\0" + named, "sha256")[:_MAC_BYTES]
    return urlsafe_b64encode(named + mac).decode()


def mint(keyring: Keyring, provider: str, job_id: UUID, attempt: int) -> str:
    """Return the token for one attempt of a job."""
    return _token(keyring.callback_keys[0], provider, job_id.bytes + attempt.to_bytes(_ATTEMPT_BYTES, "big"))


def check(keyring: Keyring, provider: str, token: str) -> Claim | None:
    """Return what the token says, None for anything that is not letter for letter one that we made for this provider."""
    if len(token) != _TEXT_LENGTH or not token.isascii():
        return None
    try:
        raw = urlsafe_b64decode(token)
    except (Base64Error, ValueError):
        return None
    if len(raw) != 16 + _ATTEMPT_BYTES + _MAC_BYTES:
        return None
    named = raw[: 16 + _ATTEMPT_BYTES]
    # The text is compared, not the bytes: base64 has several spellings of the same bytes. All keys are tried in any case.
    good = [hmac.compare_digest(_token(key, provider, named), token) for key in keyring.callback_keys]
    if not any(good):
        return None
    return Claim(UUID(bytes=named[:16]), int.from_bytes(named[16:], "big"))
