"""Secrets and keys that deliveries are signed with."""

from __future__ import annotations

from handlers.openapi.schema import constant, identifier, list_of, record, text, time

SCHEMAS = {
    "SigningSecret": record(
        "The secret in use, and when the ones before stop signing.",
        {
            "secret": text("The secret, as libraries for Standard Webhooks take it.", pattern="^whsec_"),
            "expires_at": {"type": "null", "description": "Always null: it signs until it is rotated."},
            "previous": list_of(
                record("A secret that still signs.", {"expires_at": time("When it stops.")}), "Those in their grace."
            ),
        },
    ),
    "SigningKey": record(
        "An account's ed25519 key, its public half.",
        {
            "id": identifier("key", "the key"),
            "object": constant("signing_key"),
            "public_key": text("The public half, as libraries for Standard Webhooks take it.", pattern="^whpk_"),
            "expires_at": {"type": "null", "description": "Always null: it signs until it is rotated."},
            "previous": list_of(
                record(
                    "A key that still signs.",
                    {"id": identifier("key", "the key"), "expires_at": time("When it stops.")},
                ),
                "Those in their grace.",
            ),
        },
    ),
    "KeySet": record(
        "A JSON Web Key Set (RFC 7517, RFC 8037).",
        {
            "keys": list_of(
                record(
                    "A public key.",
                    {
                        "kty": constant("OKP"),
                        "crv": constant("Ed25519"),
                        "x": text("The key, base64url without padding.", pattern="^[A-Za-z0-9_-]{43}$"),
                        "kid": identifier("key", "the key"),
                        "use": constant("sig"),
                        "alg": constant("EdDSA"),
                    },
                )
            )
        },
    ),
}
