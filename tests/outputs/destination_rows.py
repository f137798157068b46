"""Rows of `destinations` as the queries give them, for tests that need no database."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from service.crypto import Keyring
from service.outputs.destination_input import shape_of
from service.outputs.destinations import encrypt_secret

KEYRING = Keyring(["a secret key for tests - 32 characters or more"])
EXTERNAL_ID = "genrelay-0123456789abcdef0123456789abcdef"
ROLE = "arn:aws:iam::123456789012:role/customers/genrelay"
ACCESS_KEY = {"type": "access_key", "access_key_id": "AKIAEXAMPLE", "secret_access_key": "a-secret-access-key"}
ASSUME_ROLE = {"type": "assume_role", "role_arn": ROLE}
AMBIENT = {"type": "ambient"}


def body(**changes: Any) -> dict[str, Any]:
    """Return the body of a PUT for a role's destination."""
    return {"bucket": "acme-renders", "region": "eu-central-1", "path": "renders", "auth": ASSUME_ROLE, **changes}


def row(**changes: Any) -> dict[str, Any]:
    """Return the row that such a PUT makes, of the account `default`."""
    given = body(**changes)
    wanted = shape_of(given).model_validate(given)
    now = datetime(2026, 11, 1, tzinfo=UTC)
    return {
        "name": "acme",
        "spec": wanted.public(),
        "secret": encrypt_secret(KEYRING, wanted),
        "account_name": "default",
        "external_id": EXTERNAL_ID,
        "checked_at": None,
        "check_steps": None,
        "failing_since": None,
        "failure": None,
        "created_at": now,
        "updated_at": now,
    }
