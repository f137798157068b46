"""What `PUT /v1/destinations/{name}` takes, as pydantic checks it."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    StringConstraints,
    ValidationInfo,
    field_validator,
    model_validator,
)

from service.aws.auth_input import VISIBLE, AccessKeyAuth, AmbientAuth, AnyAuth, AssumeRoleAuth, Region, Strict
from service.outputs.aws_rules import AWS_RULES
from service.outputs.key_template import check_template
from service.outputs.keys import check_path, clean_path

_Bucket = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")]


def _valid_path(path: str) -> str:
    rule = check_path(path)
    if rule is not None:
        raise ValueError(rule)
    return clean_path(path)


def _not_control(value: str) -> str:
    if any(ord(c) < 32 or 0xD800 <= ord(c) <= 0xDFFF for c in value):
        raise ValueError("must not hold control characters or lone surrogates")
    return value


class EncryptionIn(Strict):
    """Server-side encryption to ask S3 for."""

    type: Literal["AES256", "aws:kms"]
    key_id: Annotated[str, VISIBLE] | None = None
    bucket_key: bool = False

    @model_validator(mode="after")
    def _kms_only(self) -> Self:
        if self.type == "AES256" and (self.key_id is not None or self.bucket_key):
            raise ValueError("key_id and bucket_key go with aws:kms only")
        return self


class DestinationIn(Strict):
    """A destination, whatever its `auth`; the shapes below say what belongs into that."""

    # First, because the rules of others depend on it.
    endpoint_url: Annotated[str, VISIBLE] | None = None
    bucket: _Bucket
    region: Region
    path: Annotated[str, AfterValidator(_valid_path)] = ""
    save_to_path_directly: bool = False
    auth: AccessKeyAuth | AssumeRoleAuth | AmbientAuth | AnyAuth
    expected_bucket_owner: Annotated[str, StringConstraints(pattern=r"^[0-9]{12}$")] | None = None
    encryption: EncryptionIn | None = None
    storage_class: Annotated[str, StringConstraints(pattern=r"^[A-Z0-9_]{1,40}$")] | None = None
    tags: dict[
        Annotated[str, StringConstraints(min_length=1, max_length=128), AfterValidator(_not_control)],
        Annotated[str, StringConstraints(max_length=256), AfterValidator(_not_control)],
    ] = Field(default_factory=dict, max_length=10)
    acl: Literal["private", "bucket-owner-full-control", "bucket-owner-read"] | None = None
    key_template: str | None = None
    manifest: bool | None = False

    @field_validator("bucket", "storage_class", "tags")
    @classmethod
    def _taken_by_aws(cls, value: Any, info: ValidationInfo) -> Any:
        # Other servers have rules of their own. An endpoint that is wrong itself is not there.
        if info.data.get("endpoint_url", "") is None and info.field_name is not None:
            rule = AWS_RULES[info.field_name](value)
            if rule is not None:
                raise ValueError(rule)
        return value

    @field_validator("key_template")
    @classmethod
    def _valid_template(cls, template: str | None, info: ValidationInfo) -> str | None:
        if template is None:
            return None
        if info.data.get("save_to_path_directly"):
            raise ValueError("contradicts save_to_path_directly: true; give one of the two")
        rule = check_template(template, info.data.get("path", ""))
        if rule is not None:
            raise ValueError(rule)
        return template

    @property
    def secret_access_key(self) -> str | None:
        """The secret of an access key."""
        return self.auth.secret_access_key if isinstance(self.auth, AccessKeyAuth) else None

    def public(self) -> dict[str, Any]:
        """Return everything but the secret, for the `spec` column and the API."""
        spec = self.model_dump(exclude={"auth": {"secret_access_key"}})
        return {**spec, "manifest": bool(self.manifest)}


# One shape per kind of `auth`, so that each mistake is told by the fields of the kind that was meant.
class AccessKeyDestination(DestinationIn):
    """A destination that is written to with an access key."""

    auth: AccessKeyAuth


class RoleDestination(DestinationIn):
    """A destination that is written to as a role."""

    auth: AssumeRoleAuth


class AmbientDestination(DestinationIn):
    """A destination that is written to with the service's own credentials."""

    auth: AmbientAuth


class UnknownDestination(DestinationIn):
    """A destination whose `auth` is none of these."""

    auth: AnyAuth


def shape_of(given: Any) -> type[DestinationIn]:
    """Return the shape that a body means, by its `auth.type`."""
    auth = given.get("auth") if isinstance(given, dict) else None
    kind = auth.get("type") if isinstance(auth, dict) else None
    return SHAPES.get(kind, UnknownDestination) if isinstance(kind, str) else UnknownDestination


SHAPES: dict[str, type[DestinationIn]] = {
    "access_key": AccessKeyDestination,
    "assume_role": RoleDestination,
    "ambient": AmbientDestination,
}
