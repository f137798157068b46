"""What a destination's policies can't say themselves, for the administrator who reads them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

_ALWAYS = (
    "s3:GetObject: after a failed or interrupted write this service looks whether the object there is its own; links to"
    " stored outputs are signed with it, and a job that is copied elsewhere is read with it. Without it jobs may end as"
    " destination_denied, and links lead nowhere.",
    "s3:DeleteObject is only for the probes that a check writes. Outputs are never deleted or replaced; without it a check"
    " leaves its probe behind and says so.",
    "s3:ListBucketMultipartUploads finds an upload that a crash left before its id was known. S3 knows no narrower form"
    " than the whole bucket. Without it such parts stay until a lifecycle rule aborts them; a bucket should have that rule"
    " in either case.",
    "A job whose body brings its own custom_storage writes under the path named there. If that lies outside of this"
    " destination's path, the actions on objects are needed there too.",
    "If the bucket has a policy of its own, or a KMS key by default, these have to let the same actions in.",
)


def make_notes(spec: Mapping[str, Any], principal: str | None) -> list[str]:
    """Return what else has to be known. principal: ours, if it is known; of no account for access keys."""
    return [*_notes_of_auth(spec, principal), *_notes_of_key(spec), *_notes_of_place(spec), *_ALWAYS]


def _notes_of_auth(spec: Mapping[str, Any], principal: str | None) -> Iterator[str]:
    auth = spec["auth"]
    match auth["type"]:
        case "access_key":
            yield (
                f"Attach the permission policy to the IAM user that the access key {auth['access_key_id']} belongs to,"
                " and to nothing else; there is no trust policy. A role needs no long-lived secret: see auth.type"
                " assume_role."
            )
            return
        case "ambient":
            yield (
                "The permission policy belongs to this service's own role, which its operator keeps. If the bucket lies in"
                " another AWS account, the bucket's policy has to allow the same actions to that role too."
            )
        case "assume_role":
            yield (
                "sts:ExternalId was made by this service for this account and nobody can choose it. Keep the condition:"
                " without it, whoever can use this service could use the role."
            )
            yield from _note_of_owner(spec, auth["role_arn"])
    if principal is None:
        yield (
            "The principal of this service is not known, so the policies can't be used as they are: the operator has to"
            " set GENRELAY_AWS_PRINCIPAL to the ARN of the service's IAM role, or give the service AWS credentials."
        )


def _note_of_owner(spec: Mapping[str, Any], role_arn: str) -> Iterator[str]:
    owner = spec["expected_bucket_owner"]
    if owner is not None and owner != role_arn.split(":")[4]:
        yield (
            f"The bucket shall belong to {owner} and the role to {role_arn.split(':')[4]}: the bucket's own policy has to"
            " let the role in too, with the same actions."
        )


def _notes_of_key(spec: Mapping[str, Any]) -> Iterator[str]:
    encryption = spec["encryption"]
    if encryption is None or encryption["type"] != "aws:kms":
        return
    key = encryption["key_id"]
    if key is None:
        yield (
            "aws:kms without key_id uses the AWS managed key aws/s3, which needs no permission, but works inside the"
            " bucket's own AWS account only."
        )
        return
    yield (
        "kms:GenerateDataKey encrypts; kms:Decrypt is needed to complete an upload in parts and to read an object. The"
        " key's own policy has to let them in too, if it does not leave that to IAM."
    )
    if not (key.startswith("arn:") and ":key/" in key):
        yield "With the key's full ARN as key_id the policy would name this one key and nothing else."


def _notes_of_place(spec: Mapping[str, Any]) -> Iterator[str]:
    if spec["endpoint_url"] is not None:
        yield (
            "endpoint_url leads to an S3 server that is not Amazon's. The actions are named as Amazon names them; what the"
            " server makes of such policies, its own documentation says."
        )
    if re.search(r"[^\x20-\xff]", spec["path"]):
        yield (
            "IAM takes no characters beyond U+00FF: where the path has them, the policy has `*`, which lets in more than"
            " this path."
        )
    if not spec["path"]:
        yield "The destination has no path, so that the policy covers the whole bucket. A path of its own would narrow it."
