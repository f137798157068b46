"""Whose credentials to use, as customers say it of a destination and of a sink alike, and as pydantic checks it."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

# Partition, account, then the role with the folders it lies in.
_ROLE_ARN = re.compile(r"arn:aws(?:-[a-z]+)*:iam::[0-9]{12}:role/(?:[!-.0-~]+/)*[A-Za-z0-9_+=,.@-]{1,64}")

Region = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$")]
VISIBLE = StringConstraints(pattern=r"^[\x21-\x7e]+$", max_length=2048)


def _role_arn(value: str) -> str:
    if len(value) > 2048 or not _ROLE_ARN.fullmatch(value):
        raise ValueError("must be the ARN of a role, as in arn:aws:iam::123456789012:role/genrelay")
    return value


def _not_chosen(value: object) -> None:
    if value is not None:
        raise ValueError(
            "is never chosen: this service has made one for the account, and shows it with the destination or the sink; leave"
            " it out"
        )


class Strict(BaseModel):
    """A shape that takes nothing unknown, and nothing for something else."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class AccessKeyAuth(Strict):
    """An IAM user's access key."""

    type: Literal["access_key"]
    access_key_id: Annotated[str, VISIBLE] = Field(min_length=1, max_length=256)
    secret_access_key: Annotated[str, VISIBLE] = Field(min_length=1, max_length=1024, repr=False)


class AssumeRoleAuth(Strict):
    """A role of the customer's that lets us in. external_id: only so that giving one says why that can't be."""

    type: Literal["assume_role"]
    role_arn: Annotated[str, AfterValidator(_role_arn)]
    external_id: Annotated[Any, AfterValidator(_not_chosen)] = Field(None, exclude=True)


class AmbientAuth(Strict):
    """The service's own AWS credentials, for accounts that the operator has named."""

    type: Literal["ambient"]


class AnyAuth(BaseModel):
    """What came when it is none of these: only its type is looked at."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)

    type: Literal["access_key", "assume_role", "ambient"]
