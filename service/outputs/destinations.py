"""Destinations: a customer's bucket with how to write to it. Secrets go in, encrypted, and never come out."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from service.aws.auth import AccessKey, Ambient, AssumedRole, Auth, ambient_rule
from service.crypto import Keyring, UndecryptableError
from service.ids import show
from service.jobs.model import Job, moment
from service.outputs.destination_input import DestinationIn
from service.outputs.errors import DestinationDenied
from service.outputs.key_template import Naming, render_key
from service.outputs.keys import manifest_key, object_key
from service.outputs.spec import BucketSpec, Encryption

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")  # with fullmatch
NAME_RULE = "must be 1 to 64 letters, digits, `_`, `.` or `-`, the first one a letter or digit"


@dataclass(frozen=True, slots=True)
class Target:
    """Where one job's outputs go. key_template: None where the usual keys hold. manifest: whether one is written."""

    spec: BucketSpec
    path: str
    save_directly: bool
    key_template: str | None = None
    manifest: bool = False

    def key_for(self, job: Job, index: int, extension: str) -> str:
        """Return the key of a job's output; nowhere else is one made."""
        job_id = show("job", job.id)
        if self.key_template is None:
            return object_key(self.path, job_id, index, extension, save_directly=self.save_directly)
        naming = Naming(job_id, index, extension, job.provider, job.operation, job.created_at)
        return render_key(self.key_template, self.path, naming)

    def manifest_key(self, job_id: str) -> str:
        """Return the key of a job's manifest. job_id: as it is shown, `job_…`."""
        return manifest_key(self.path, job_id, save_directly=self.save_directly)


def encrypt_secret(keyring: Keyring, destination: DestinationIn) -> bytes | None:
    """Return the secret part of a destination for the database; None when it has none."""
    secret = destination.secret_access_key
    return None if secret is None else keyring.encrypt(json.dumps({"secret_access_key": secret}))


def read_target(
    keyring: Keyring, row: Any, storage: dict[str, Any] | None, ambient_accounts: Collection[str]
) -> Target:
    """Read a row of `destinations`, with its account's name and external id.

    storage: what the job's own body said instead (path, save_to_path_directly); the key template does not hold for it.
    ambient_accounts: those that may use the service's own credentials, by name. Raises DestinationDenied when the secret
    can't be decrypted any more or went with a deletion, or the account is not one of these any more.
    """
    spec = row["spec"]
    chosen = storage or spec
    bucket = BucketSpec(
        bucket=spec["bucket"],
        region=spec["region"],
        auth=_read_auth(keyring, row, ambient_accounts),
        endpoint_url=spec["endpoint_url"],
        expected_bucket_owner=spec["expected_bucket_owner"],
        encryption=Encryption(**spec["encryption"]) if spec["encryption"] else None,
        storage_class=spec["storage_class"],
        tags=spec["tags"],
        acl=spec["acl"],
    )
    template = None if storage else spec["key_template"]
    return Target(bucket, chosen["path"], chosen["save_to_path_directly"], template, spec["manifest"])


def _read_auth(keyring: Keyring, row: Any, ambient_accounts: Collection[str]) -> Auth:
    said = row["spec"]["auth"]
    match said["type"]:
        case "assume_role":
            return AssumedRole(said["role_arn"], row["external_id"])
        case "ambient":
            if row["account_name"] not in ambient_accounts:
                raise DestinationDenied(
                    "the account may not use the service's own AWS credentials", ambient_rule(row["account_name"])
                )
            return Ambient()
    if row["secret"] is None:
        raise DestinationDenied(
            "the destination has been deleted, and its secret with it",
            "Put a destination of the same name, then retry the job.",
        )
    try:
        secret = json.loads(keyring.decrypt(row["secret"]))
    except UndecryptableError as error:
        raise DestinationDenied(
            f"the destination's secret can't be read: {error}", "Put the destination again, then retry the job."
        ) from None
    return AccessKey(said["access_key_id"], secret["secret_access_key"])


def destination_json(row: Any) -> dict[str, Any]:
    """Return a row of `destinations`, with its account's external id, as the API shows it."""
    spec = row["spec"]
    auth = spec["auth"]
    if auth["type"] == "assume_role":
        auth = {**auth, "external_id": row["external_id"]}
    return {
        "object": "destination",
        "name": row["name"],
        **spec,
        "auth": auth,
        "status": _status(row),
        "checked_at": moment(row["checked_at"]),
        "failing_since": moment(row["failing_since"]),
        "failure": row["failure"],
        "created_at": moment(row["created_at"]),
        "updated_at": moment(row["updated_at"]),
    }


def _status(row: Any) -> str:
    if row["failing_since"] is not None:
        return "failing"
    return "unchecked" if row["checked_at"] is None else "ok"
