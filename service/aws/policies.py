"""The parts of IAM policies that destinations and sinks share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Document = dict[str, Any]

# Stands for a principal that nobody could tell; IAM refuses a policy that has it.
PLACEHOLDER = "REPLACE-WITH-THE-PRINCIPAL-OF-THIS-SERVICE"

_VERSION = "2012-10-17"
_PARTITIONS = {
    "cn-": "aws-cn",
    "us-gov-": "aws-us-gov",
    "us-isob-": "aws-iso-b",
    "us-isof-": "aws-iso-f",
    "us-iso-": "aws-iso",
    "eu-isoe-": "aws-iso-e",
    "eusc-": "aws-eusc",
}


def partition_of(region: str) -> str:
    """Return the part of AWS where a region is: aws, aws-cn, aws-us-gov, …"""
    return next((found for prefix, found in _PARTITIONS.items() if region.startswith(prefix)), "aws")


def make_document(*statements: Document) -> Document:
    """Return a policy of these statements."""
    return {"Version": _VERSION, "Statement": list(statements)}


def allow(sid: str, actions: Sequence[str], resource: str, **more: Any) -> Document:
    """Return a statement that allows something."""
    return {"Sid": sid, "Effect": "Allow", "Action": list(actions), "Resource": resource, **more}


def make_role_trust(principal: str | None, external_id: str) -> Document:
    """Return who may take a role on: we, for this account only. principal: ours, None when nobody could tell."""
    return make_document(
        {
            "Sid": "LetGenrelayTakeTheRole",
            "Effect": "Allow",
            "Principal": {"AWS": principal or PLACEHOLDER},
            "Action": "sts:AssumeRole",
            "Condition": {"StringEquals": {"sts:ExternalId": external_id}},
        }
    )
