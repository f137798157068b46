"""Verifies the ed25519 signature of a webhook with a public key: without any secret on the receiver's side.

pip install cryptography httpx
"""

import base64
import time

import httpx
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

TOLERANCE_SECONDS = 300


def fetch_key(genrelay_url: str, key_id: str) -> Ed25519PublicKey:
    """Return your account's own key, and no other of the key set. To be kept, and fetched anew when `key_id` changes."""
    answer = httpx.get(f"{genrelay_url}/.well-known/jwks.json", params={"kid": key_id}).raise_for_status()
    (jwk,) = (key for key in answer.json()["keys"] if key["kid"] == key_id)
    return Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(jwk["x"] + "=="))


def is_genuine(key: Ed25519PublicKey, headers: dict[str, str], body: bytes) -> bool:
    """Return whether the body was signed with this key, within the last five minutes. headers: names in lower case."""
    timestamp = headers.get("webhook-timestamp", "")
    if not timestamp.isascii() or not timestamp.isdigit() or abs(time.time() - int(timestamp)) > TOLERANCE_SECONDS:
        return False
    signed = f"{headers.get('webhook-id')}.{timestamp}.".encode() + body
    signatures = [
        each.removeprefix("v1a,") for each in headers.get("webhook-signature", "").split() if each[:4] == "v1a,"
    ]
    return any(fits(key, signature, signed) for signature in signatures)


def fits(key: Ed25519PublicKey, signature: str, signed: bytes) -> bool:
    """Return whether one signature is this key's."""
    try:
        key.verify(base64.b64decode(signature), signed)
    except (InvalidSignature, ValueError):  # ValueError: no base64
        return False
    return True
