"""Destinations: a customer's bucket with how to write to it. Secrets go in, encrypted, and never come out."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from service.crypto import Keyring, UndecryptableError
from service.jobs.model import moment
from service.outputs.errors import DestinationDenied
from service.outputs.keys import check_path, clean_path
from service.outputs.spec import AccessKey, BucketSpec, Encryption

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")  # with fullmatch
NAME_RULE = "must be 1 to 64 letters, digits, `_`, `.` or `-`, the first one a letter or digit"

_Bucket = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")]
_Region = Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,40}$")]
_Visible = StringConstraints(pattern=r"^[\x21-\x7e]+$", max_length=2048)


def _valid_path(path: str) -> str:
    rule = check_path(path)
    if rule is not None:
        raise ValueError(rule)
    return clean_path(path)


def _not_control(value: str) -> str:
    if any(ord(c) < 32 or 0xD800 <= ord(c) <= 0xDFFF for c in value):
        raise ValueError("must not hold control characters or lone surrogates")
    return value


def _no_template(value: object) -> None:
    if value is not None:
        raise ValueError("not supported by this version; leave it out, or null")


def _no_manifest(value: object) -> Literal[False]:
    if value is not None and value is not False:
        raise ValueError("not supported by this version; leave it out, or false")
    return False


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class AccessKeyAuth(_Strict):
    """An IAM user's access key."""

    type: Literal["access_key"]
    access_key_id: Annotated[str, _Visible] = Field(min_length=1, max_length=256)
    secret_access_key: Annotated[str, _Visible] = Field(min_length=1, max_length=1024, repr=False)


class EncryptionIn(_Strict):
    """Server-side encryption to ask S3 for."""

    type: Literal["AES256", "aws:kms"]
    key_id: Annotated[str, _Visible] | None = None
    bucket_key: bool = False

    @model_validator(mode="after")
    def _kms_only(self) -> Self:
        if self.type == "AES256" and (self.key_id is not None or self.bucket_key):
            raise ValueError("key_id and bucket_key go with aws:kms only")
        return self


class DestinationIn(_Strict):
    """What `PUT /v1/destinations/{name}` takes."""

    bucket: _Bucket
    region: _Region
    path: Annotated[str, AfterValidator(_valid_path)] = ""
    save_to_path_directly: bool = False
    endpoint_url: Annotated[str, _Visible] | None = None
    auth: AccessKeyAuth
    expected_bucket_owner: Annotated[str, StringConstraints(pattern=r"^[0-9]{12}$")] | None = None
    encryption: EncryptionIn | None = None
    storage_class: Annotated[str, StringConstraints(pattern=r"^[A-Z0-9_]{1,40}$")] | None = None
    tags: dict[
        Annotated[str, StringConstraints(min_length=1, max_length=128), AfterValidator(_not_control)],
        Annotated[str, StringConstraints(max_length=256), AfterValidator(_not_control)],
    ] = Field(default_factory=dict, max_length=10)
    acl: Literal["private", "bucket-owner-full-control", "bucket-owner-read"] | None = None
    key_template: Annotated[Any, AfterValidator(_no_template)] = None
    manifest: Annotated[Any, AfterValidator(_no_manifest)] = False

    def public(self) -> dict[str, Any]:
        """Return everything but the secret, for the `spec` column and the API."""
        spec = self.model_dump()
        del spec["auth"]["secret_access_key"]
        return spec


@dataclass(frozen=True, slots=True)
class Target:
    """Where one job's outputs go."""

    spec: BucketSpec
    path: str
    save_directly: bool


def encrypt_secret(keyring: Keyring, destination: DestinationIn) -> bytes:
    """Return the secret part of a destination for the database."""
    return keyring.encrypt(json.dumps({"secret_access_key": destination.auth.secret_access_key}))


def read_target(keyring: Keyring, row: Any, storage: dict[str, Any] | None) -> Target:
    """Read a row of `destinations`; `storage` is what the job's own body said instead (path, save_to_path_directly).

    Raises DestinationDenied when its secret can't be decrypted any more.
    """
    spec = row["spec"]
    try:
        secret = json.loads(keyring.decrypt(row["secret"]))
    except UndecryptableError as error:
        raise DestinationDenied(
            f"the destination's secret can't be read: {error}", "Put the destination again, then retry the job."
        ) from None
    chosen = storage or spec
    bucket = BucketSpec(
        bucket=spec["bucket"],
        region=spec["region"],
        auth=AccessKey(spec["auth"]["access_key_id"], secret["secret_access_key"]),
        endpoint_url=spec["endpoint_url"],
        expected_bucket_owner=spec["expected_bucket_owner"],
        encryption=Encryption(**spec["encryption"]) if spec["encryption"] else None,
        storage_class=spec["storage_class"],
        tags=spec["tags"],
        acl=spec["acl"],
    )
    return Target(bucket, chosen["path"], chosen["save_to_path_directly"])


def destination_json(row: Any) -> dict[str, Any]:
    """Return a row of `destinations` as the API shows it."""
    return {
        "object": "destination",
        "name": row["name"],
        **row["spec"],
        "created_at": moment(row["created_at"]),
        "updated_at": moment(row["updated_at"]),
    }
