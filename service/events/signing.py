"""What a delivery is signed with: Standard Webhooks, by HMAC (`v1`) and by ed25519 (`v1a`). Pure.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md, checked 2026-11-21. Nothing is
compared in here: receivers verify, with the libraries named in docs/receiving.md.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets as randomness
from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SECRET_RULE = "must be whsec_ and then base64 of 24 to 64 bytes"  # noqa: S105 - what one looks like
_SECRET, _PRIVATE, _PUBLIC = "whsec_", "whsk_", "whpk_"
_SECRET_BYTES = 32


class BadSecretError(ValueError):
    """The text is no secret or key to sign with; what came is not in the message."""


def make_secret() -> str:
    """Return a new secret, `whsec_…`."""
    return _SECRET + base64.b64encode(randomness.token_bytes(_SECRET_BYTES)).decode()


def read_secret(text: str) -> bytes:
    """Return the bytes of a `whsec_…`; raises BadSecretError."""
    found = _decode(text, _SECRET)
    if not 24 <= len(found) <= 64:
        raise BadSecretError(SECRET_RULE)
    return found


def make_key() -> str:
    """Return a new ed25519 key, `whsk_` and base64 of seed and public half, 64 bytes, as NaCl has it."""
    key = Ed25519PrivateKey.generate()
    return _PRIVATE + base64.b64encode(key.private_bytes_raw() + key.public_key().public_bytes_raw()).decode()


def read_key(text: str) -> Ed25519PrivateKey:
    """Return the key of a `whsk_…`, of the seed alone or with the public half behind it; raises BadSecretError."""
    found = _decode(text, _PRIVATE)
    if len(found) not in {32, 64}:
        raise BadSecretError("must be whsk_ and then base64 of 32 or 64 bytes")
    key = Ed25519PrivateKey.from_private_bytes(found[:32])
    if found[32:] not in {b"", key.public_key().public_bytes_raw()}:
        raise BadSecretError("the two halves of the key belong to different keys")
    return key


def show_public(public: bytes) -> str:
    """Return a public key of 32 bytes as `whpk_…`."""
    return _PUBLIC + base64.b64encode(public).decode()


def _decode(text: str, prefix: str) -> bytes:
    if not text.startswith(prefix):
        raise BadSecretError(f"must begin with {prefix}")
    try:
        return base64.b64decode(text.removeprefix(prefix).encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        pass
    # Raised out here: the cause would carry the text.
    raise BadSecretError(f"must be base64 after {prefix}")


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs with every secret and every key: while they are rotated, the old and the new ones."""

    secrets: tuple[bytes, ...] = field(repr=False)
    keys: tuple[Ed25519PrivateKey, ...] = field(repr=False)

    def headers(self, event_id: str, timestamp: int, body: bytes) -> dict[str, str]:
        """Return the three headers of a try. event_id: as it is shown. timestamp: of this try, in unix seconds."""
        return {
            "webhook-id": event_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": self.sign(event_id, timestamp, body),
        }

    def sign(self, event_id: str, timestamp: int, body: bytes) -> str:
        """Return the signatures, newest first, with spaces between: `v1,… v1a,…`."""
        signed = f"{event_id}.{timestamp}.".encode() + body
        signatures = [("v1", hmac.digest(secret, signed, "sha256")) for secret in self.secrets]
        signatures += [("v1a", key.sign(signed)) for key in self.keys]
        return " ".join(f"{version},{base64.b64encode(found).decode()}" for version, found in signatures)


def sign(event_id: str, timestamp: int, body: bytes, secrets: Sequence[str], keys: Sequence[str] = ()) -> str:
    """Return the header `webhook-signature`. secrets: `whsec_…`; keys: `whsk_…`. Raises BadSecretError."""
    signer = Signer(tuple(map(read_secret, secrets)), tuple(map(read_key, keys)))
    return signer.sign(event_id, timestamp, body)
