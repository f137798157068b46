"""The IAM policies that a destination needs, with the actions that this very destination uses and no others.

They are made from what the destination says, without asking AWS and without its secret.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from service.aws.policies import PLACEHOLDER, Document, allow, make_document, make_role_trust, partition_of
from service.outputs.keys import PROBE, join_path
from service.outputs.policy_notes import make_notes
from service.outputs.terraform import make_terraform

__all__ = ["PLACEHOLDER", "escape", "make_policy"]

# In resources these have a meaning of their own: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html
_SPECIAL = re.compile(r"[*?$]")
# No policy may hold these: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
_NOT_IN_POLICIES = re.compile(r"[^\x20-\xff]+")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What policies are made for. spec: the destination's, as it is stored. principal: of this service, if it is known."""

    name: str
    spec: Mapping[str, Any]
    external_id: str
    principal: str | None

    @property
    def role_arn(self) -> str | None:
        """The role to let in; None where there is none."""
        arn: str | None = self.spec["auth"].get("role_arn")
        return arn

    @property
    def partition(self) -> str:
        """The part of AWS where the bucket lies: aws, aws-cn, aws-us-gov, …"""
        if self.role_arn is not None:
            return self.role_arn.split(":")[1]
        return partition_of(self.spec["region"])

    @property
    def bucket_arn(self) -> str:
        """The bucket, as policies name it."""
        return f"arn:{self.partition}:s3:::{self.spec['bucket']}"

    @property
    def kms_key(self) -> str | None:
        """The KMS key that is asked for: its ARN, its id, or an alias."""
        encryption = self.spec["encryption"] or {}
        key: str | None = encryption.get("key_id")
        return key


def make_policy(row: Any, principal: str | None) -> Document:
    """Return what `GET /v1/destinations/{name}/policy` answers.

    row: of `destinations`, with its account's external id. principal: who we are to AWS, None when nobody could tell.
    """
    kind = row["spec"]["auth"]["type"]
    wanted = Wanted(row["name"], row["spec"], row["external_id"], None if kind == "access_key" else principal)
    trust = make_trust_policy(wanted) if kind == "assume_role" else None
    permissions = make_permission_policy(wanted)
    return {
        "object": "destination_policy",
        "principal": wanted.principal,
        "external_id": wanted.external_id if kind == "assume_role" else None,
        "trust_policy": trust,
        "permission_policy": permissions,
        "terraform": make_terraform(wanted.name, wanted.spec, wanted.role_arn, trust, permissions),
        "notes": make_notes(wanted.spec, wanted.principal),
    }


def make_trust_policy(wanted: Wanted) -> Document:
    """Return who may take the role on: we, for this account only."""
    return make_role_trust(wanted.principal, wanted.external_id)


def make_permission_policy(wanted: Wanted) -> Document:
    """Return what the role, or the user whose key it is, may do."""
    statements = [
        allow("WriteAndReadOutputs", _object_actions(wanted.spec), _objects(wanted, "*")),
        allow("CleanUpAfterChecks", _probe_actions(wanted.spec), _objects(wanted, f"{PROBE}*")),
        allow("FindUnfinishedUploads", ["s3:ListBucketMultipartUploads"], wanted.bucket_arn),
    ]
    if wanted.kms_key is not None:
        statements.append(_allow_key(wanted, wanted.kms_key))
    return make_document(*statements)


def _object_actions(spec: Mapping[str, Any]) -> Sequence[str]:
    actions = ["s3:PutObject", "s3:GetObject", "s3:AbortMultipartUpload"]
    if spec["tags"]:
        actions.append("s3:PutObjectTagging")
    if spec["acl"] is not None:
        actions.append("s3:PutObjectAcl")
    return actions


def _probe_actions(spec: Mapping[str, Any]) -> Sequence[str]:
    return ["s3:DeleteObject", "s3:GetObjectTagging"] if spec["tags"] else ["s3:DeleteObject"]


def _objects(wanted: Wanted, pattern: str) -> str:
    return f"{wanted.bucket_arn}/{join_path(escape(wanted.spec['path']), pattern)}"


def escape(text: str) -> str:
    """Return text as it may stand in a policy's resource, so that it means itself.

    What no policy may hold becomes `*`: that is more than was meant, but the least that can be said.
    """
    return _NOT_IN_POLICIES.sub("*", _SPECIAL.sub(lambda found: f"${{{found[0]}}}", text))


def _allow_key(wanted: Wanted, key: str) -> Document:
    place, name = _locate_key(wanted, key)
    actions = ["kms:GenerateDataKey", "kms:Decrypt"]
    if name.startswith("alias/"):
        # Aliases are no resources: the condition holds for whatever key has this one.
        condition = {"ForAnyValue:StringEquals": {"kms:ResourceAliases": escape(name)}}
        return allow("EncryptOutputs", actions, f"{place}:key/*", Condition=condition)
    return allow("EncryptOutputs", actions, f"{place}:{escape(name)}")


def _locate_key(wanted: Wanted, key: str) -> tuple[str, str]:
    """Return where a key lies, as ARNs begin, and its name there: `key/…` or `alias/…`."""
    if key.startswith("arn:"):
        place, _, name = key.rpartition(":")
        return escape(place), name
    # S3 looks for a key without an account in that of whoever writes.
    account = wanted.role_arn.split(":")[4] if wanted.role_arn is not None else "*"
    name = key if key.startswith("alias/") else f"key/{key}"
    return f"arn:{wanted.partition}:kms:{wanted.spec['region']}:{account}", name
