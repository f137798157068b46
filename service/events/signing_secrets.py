"""The secrets of one subscription, or of one account: one that is shown and signs, and older ones that still sign.

They are stored together as encrypted JSON, newest first: `[{"secret": "whsec_…", "expires_at": null}, …]`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from service.crypto import Keyring
from service.events.signing import make_secret, read_secret
from service.jobs.model import moment

MOST_GRACE_SECONDS = 7 * 86_400
DEFAULT_GRACE_SECONDS = 86_400
# Each makes the header longer. Who rotates more often than that within the grace ends the oldest one early.
MOST_SECRETS = 5


@dataclass(frozen=True, slots=True)
class SigningSecret:
    """One `whsec_…`, and when it stops signing; None: never."""

    text: str = field(repr=False)
    expires_at: datetime | None = None

    def signs(self, now: datetime) -> bool:
        """Return whether it still signs."""
        return self.expires_at is None or now < self.expires_at


@dataclass(frozen=True, slots=True)
class SecretView:
    """The secret in use, and when the ones before stop signing."""

    secret: str = field(repr=False)
    previous: tuple[datetime, ...]

    def as_json(self) -> dict[str, Any]:
        """Return it as the routes of secrets answer it; the only place where a secret is shown."""
        previous = [{"expires_at": moment(end)} for end in self.previous]
        return {"secret": self.secret, "expires_at": None, "previous": previous}


def view(secrets: Sequence[SigningSecret], now: datetime) -> SecretView:
    """Return secrets as they are shown."""
    ends = (each.expires_at for each in secrets[1:] if each.signs(now))
    return SecretView(secrets[0].text, tuple(end for end in ends if end is not None))


def rotated(
    secrets: Sequence[SigningSecret], now: datetime, grace_seconds: int, own_secret: str | None = None
) -> list[SigningSecret]:
    """Return the secrets after a rotation: a new one, and before it those that sign for `grace_seconds` more, no longer.

    own_secret: the new one, which may be an old one; raises BadSecretError. The one in use as its own successor changes nothing
    but the others' ends.
    """
    new = own_secret or make_secret()
    read_secret(new)
    end = now + timedelta(seconds=grace_seconds)
    old = [SigningSecret(each.text, min(each.expires_at or end, end)) for each in secrets if each.text != new]
    return [SigningSecret(new), *(each for each in old if each.signs(now))][:MOST_SECRETS]


def seal_secrets(keyring: Keyring, secrets: Sequence[SigningSecret]) -> bytes:
    """Encrypt secrets for a row."""
    rows = [{"secret": each.text, "expires_at": each.expires_at and each.expires_at.isoformat()} for each in secrets]
    return keyring.encrypt(json.dumps(rows))


def seal_new_secret(keyring: Keyring) -> bytes:
    """Make a secret and encrypt it for a row: what a new subscription begins with."""
    return seal_secrets(keyring, [SigningSecret(make_secret())])


def open_secrets(keyring: Keyring, sealed: bytes) -> list[SigningSecret]:
    """Decrypt the secrets of a row, newest first, those that have ended among them; raises UndecryptableError."""
    return [
        SigningSecret(row["secret"], row["expires_at"] and datetime.fromisoformat(row["expires_at"]))
        for row in json.loads(keyring.decrypt(sealed))
    ]
