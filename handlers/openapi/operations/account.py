"""What an account's own webhooks are signed with, and everybody's public keys."""

from __future__ import annotations

from handlers.openapi.operation import Answer, Body, Operation, Parameter, answer
from handlers.openapi.schema import identifier, ref

_TAG = "Signing"
_EXAMPLE = {"a day": {"grace_seconds": 86_400}}

OPERATIONS = {
    ("GET", "/v1/account/webhook-secret"): Operation(
        id="get_webhook_secret",
        tag=_TAG,
        summary="Show the account's webhook secret",
        description="Shows the secret that the webhooks of jobs are signed with.",
        answers={200: answer("SigningSecret", "The secret.", "Cache-Control")},
    ),
    ("POST", "/v1/account/webhook-secret/rotate"): Operation(
        id="rotate_webhook_secret",
        tag=_TAG,
        summary="Rotate the account's webhook secret",
        description="Replaces the secret; the one before signs, too, for a grace period.",
        body=Body(ref("SecretRotation"), _EXAMPLE, required=False),
        answers={200: answer("SigningSecret", "The new secret.", "Cache-Control")},
    ),
    ("GET", "/v1/account/signing-key"): Operation(
        id="get_signing_key",
        tag=_TAG,
        summary="Show the account's ed25519 key",
        description="Shows the public half of the key that every webhook is signed with besides its secret.",
        answers={200: answer("SigningKey", "The key.")},
    ),
    ("POST", "/v1/account/signing-key/rotate"): Operation(
        id="rotate_signing_key",
        tag=_TAG,
        summary="Rotate the account's ed25519 key",
        description="Replaces the key; the one before signs, too, for a grace period.",
        body=Body(ref("KeyRotation"), _EXAMPLE, required=False),
        answers={200: answer("SigningKey", "The new key.")},
    ),
    ("GET", "/.well-known/jwks.json"): Operation(
        id="get_key_set",
        tag=_TAG,
        summary="Show the public keys",
        description="Shows every ed25519 key that signs, or with `?kid=` one of them. Anybody may look.",
        parameters=[Parameter("kid", "Only this key.", identifier("key", "a key"))],
        answers={200: Answer("A JSON Web Key Set.", {"application/jwk-set+json": ref("KeySet")}, ("Cache-Control",))},
        problems=["invalid_request"],
        open=True,
    ),
}
