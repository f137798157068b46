"""What `PUT /v1/destinations/{name}` takes, as pydantic checks it."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    field_validator,
    model_validator,
)

from service.outputs.aws_rules import AWS_RULES
from service.outputs.key_template import check_template
from service.outputs.keys import check_path, clean_path

# Partition, account, then the role with the folders it lies in.
_ROLE_ARN = re.compile(r"arn:aws(?:-[a-z]+)*:iam::[0-9]{12}:role/(?:[!-.0-~]+/)*[A-Za-z0-9_+=,.@-]{1,64}")

_Bucket = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")]
_Region = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$")]
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


def _role_arn(value: str) -> str:
    if len(value) > 2048 or not _ROLE_ARN.fullmatch(value):
        raise ValueError("must be the ARN of a role, as in arn:aws:iam::123456789012:role/genrelay")
    return value


def _not_chosen(value: object) -> None:
    if value is not None:
        raise ValueError(
            "is never chosen: this service has made one for the account, and the destination shows it; leave it out"
        )


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class AccessKeyAuth(_Strict):
    """An IAM user's access key."""

    type: Literal["access_key"]
    access_key_id: Annotated[str, _Visible] = Field(min_length=1, max_length=256)
    secret_access_key: Annotated[str, _Visible] = Field(min_length=1, max_length=1024, repr=False)


class AssumeRoleAuth(_Strict):
    """A role of the bucket's owner that lets us in. external_id: only so that giving one says why that can't be."""

    type: Literal["assume_role"]
    role_arn: Annotated[str, AfterValidator(_role_arn)]
    external_id: Annotated[Any, AfterValidator(_not_chosen)] = Field(None, exclude=True)


class AmbientAuth(_Strict):
    """The service's own AWS credentials, for accounts that the operator has named."""

    type: Literal["ambient"]


class AnyAuth(BaseModel):
    """What came when it is none of these: only its type is looked at."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)

    type: Literal["access_key", "assume_role", "ambient"]


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
    """A destination, whatever its `auth`; the shapes below say what belongs into that."""

    # First, because the rules of others depend on it.
    endpoint_url: Annotated[str, _Visible] | None = None
    bucket: _Bucket
    region: _Region
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
