"""What deliveries are signed with: `/v1/account/webhook-secret`, `/v1/account/signing-key`, `/.well-known/jwks.json`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from config.logging import scrub
from handlers.auth import account_of
from handlers.bodies import read_body, read_json
from handlers.problems import invalid
from handlers.query import Query
from service.app import Service
from service.events.key_set import KeySet, account_key_json
from service.events.signers import account_secret, rotate_account_secret, rotate_signing_key
from service.events.signing import SECRET_RULE, BadSecretError, read_secret
from service.events.signing_secrets import DEFAULT_GRACE_SECONDS, MOST_GRACE_SECONDS, SecretView
from service.ids import read
from service.providers.contract import Mistake

# Long enough to spare us, short enough for a receiver that pins a new key the minute it was made.
_KEY_SET_SECONDS = 60
_ROTATION_BYTES = 16 * 1024


class Signing:
    """The routes of secrets and keys that are an account's own, and of everybody's public keys."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._key_set = KeySet(service.pool)

    async def key_set(self, request: Request) -> Response:
        """Show the public keys, or with `?kid=` one of them; anybody may look."""
        query = Query(request)
        key_id = query.take("kid", lambda text: read("key", text), "must be the id of a key, key_…")
        query.end()
        body = await (self._key_set.all() if key_id is None else self._key_set.one(key_id))
        headers = {"Cache-Control": f"public, max-age={_KEY_SET_SECONDS}"}
        return Response(body, headers=headers, media_type="application/jwk-set+json")

    async def secret(self, request: Request) -> Response:
        """Show the secret that the account's own webhooks are signed with: those of its jobs."""
        account = await account_of(self._service, request)
        Query(request).end()
        return answer_secret(await account_secret(self._service.pool, self._service.keyring, account))

    async def rotate_secret(self, request: Request) -> Response:
        """Replace that secret."""
        account = await account_of(self._service, request)
        Query(request).end()
        wanted = await read_rotation(request)
        shown = await rotate_account_secret(
            self._service.pool, self._service.keyring, account, wanted.grace_seconds, wanted.secret
        )
        self._service.signers.forget(account)
        return answer_secret(shown)

    async def key(self, request: Request) -> Response:
        """Show the account's ed25519 key, its public half."""
        account = await account_of(self._service, request)
        Query(request).end()
        return JSONResponse(await account_key_json(self._service.pool, self._service.keyring, account))

    async def rotate_key(self, request: Request) -> Response:
        """Replace that key."""
        account = await account_of(self._service, request)
        Query(request).end()
        wanted = await read_rotation(request, with_secret=False)
        await rotate_signing_key(self._service.pool, self._service.keyring, account, wanted.grace_seconds)
        self._service.signers.forget(account)
        return JSONResponse(await account_key_json(self._service.pool, self._service.keyring, account))


def answer_secret(shown: SecretView) -> Response:
    """Answer a secret, which nobody on the way may keep."""
    return JSONResponse(shown.as_json(), headers={"Cache-Control": "no-store"})


@dataclass(frozen=True, slots=True)
class Rotation:
    """What is asked for. grace_seconds: how long the old one still signs. secret: the new one, None: one is made."""

    grace_seconds: int = DEFAULT_GRACE_SECONDS
    secret: str | None = field(default=None, repr=False)


async def read_rotation(request: Request, *, with_secret: bool = True) -> Rotation:
    """Read the body of a rotation, which may be empty; raises Problem 400, 413 and 422, without the secret in it."""
    body = await read_body(request.scope, request.receive, _ROTATION_BYTES)
    if not body.strip():
        return Rotation()
    given = await read_json(body)
    if not isinstance(given, dict):
        raise invalid(Mistake("body", "must be an object"))
    known = {"grace_seconds", "secret"} if with_secret else {"grace_seconds"}
    mistakes = [Mistake(_shown(name), "unknown field") for name in given if name not in known]
    mistakes += _grace_mistakes(given.get("grace_seconds", DEFAULT_GRACE_SECONDS))
    mistakes += _secret_mistakes(given.get("secret")) if with_secret else []
    if mistakes:
        raise invalid(*mistakes)
    return Rotation(**given)


def _shown(name: str) -> str:
    return scrub("".join(c if c.isprintable() else "\ufffd" for c in name[:64]))


def _grace_mistakes(given: Any) -> list[Mistake]:
    whole = isinstance(given, int) and not isinstance(given, bool)
    if whole and 0 <= given <= MOST_GRACE_SECONDS:
        return []
    return [Mistake("grace_seconds", f"must be whole seconds from 0 to {MOST_GRACE_SECONDS} (7 days)")]


def _secret_mistakes(given: Any) -> list[Mistake]:
    if given is None:
        return []
    try:
        read_secret(given if isinstance(given, str) else "")
    except BadSecretError:
        return [Mistake("secret", SECRET_RULE)]
    return []
