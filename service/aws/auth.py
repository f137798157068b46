"""Whose credentials sign a request, as the modules that talk to AWS need it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class AccessKey:
    """Credentials of an IAM user, as the customer gave them."""

    access_key_id: str
    secret_access_key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class AssumedRole:
    """A customer's role. external_id: ours for the account, which the role's trust policy asks for."""

    role_arn: str
    external_id: str


@dataclass(frozen=True, slots=True)
class Ambient:
    """The service's own AWS credentials: environment, IRSA, Pod Identity, instance profile."""


Auth = AccessKey | AssumedRole | Ambient


def ambient_rule(account_name: str) -> str:
    """Return what has to be so for an account to use the service's own credentials."""
    return (
        f"The operator has to name the account {account_name!r} in GENRELAY_OUTPUTS__AMBIENT_ACCOUNTS; or use a role."
    )
