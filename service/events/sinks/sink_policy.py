"""The IAM policies that a sink needs: the one action that this very sink uses, and no other.

They are made from what the sink says, without asking AWS and without its secret.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from service.aws.policies import Document, allow, make_document, make_role_trust, partition_of
from service.events.subscription import Subscription

_ACTIONS = {"sqs": "sqs:SendMessage", "sns": "sns:Publish", "eventbridge": "events:PutEvents"}


def make_sink_policy(subscription: Subscription, principal: str | None) -> Document:
    """Return what `GET /v1/subscriptions/{id}/policy` answers of a subscription with a sink.

    principal: who we are to AWS, None when nobody could tell.
    """
    sink = subscription.sink
    assert sink is not None
    kind = sink["auth"]["type"]
    known = None if kind == "access_key" else principal
    trust = make_role_trust(known, subscription.external_id) if kind == "assume_role" else None
    return {
        "object": "subscription_policy",
        "principal": known,
        "external_id": subscription.external_id if kind == "assume_role" else None,
        "trust_policy": trust,
        "permission_policy": make_document(allow("SendEvents", [_ACTIONS[sink["type"]]], sink_arn(sink))),
        "notes": list(_notes(sink, known)),
    }


def sink_arn(sink: Mapping[str, Any]) -> str:
    """Return the ARN of what a sink leads to; `*` for an account that nothing tells."""
    partition = partition_of(sink["region"])
    match sink["type"]:
        case "sns":
            return str(sink["topic_arn"])
        case "sqs":
            account, name = sink["queue_url"].split("/")[-2:]
            return (
                f"arn:{partition}:sqs:{sink['region']}:{account if re.fullmatch('[0-9]{12}', account) else '*'}:{name}"
            )
    bus: str = sink["event_bus"]
    if bus.startswith("arn:"):
        return bus
    # A bus by its name is one of whoever asks.
    account = sink["auth"]["role_arn"].split(":")[4] if "role_arn" in sink["auth"] else "*"
    return f"arn:{partition}:events:{sink['region']}:{account}:event-bus/{bus}"


def _notes(sink: Mapping[str, Any], principal: str | None) -> Iterator[str]:
    match sink["auth"]["type"]:
        case "access_key":
            yield (
                f"Attach the permission policy to the IAM user that the access key {sink['auth']['access_key_id']} belongs"
                " to, and to nothing else; there is no trust policy."
            )
        case "ambient":
            yield "The permission policy belongs to this service's own role, which its operator keeps."
        case "assume_role":
            yield (
                "sts:ExternalId was made by this service for this account and nobody can choose it. Keep the condition:"
                " without it, whoever can use this service could use the role."
            )
    if sink["auth"]["type"] != "access_key" and principal is None:
        yield (
            "The principal of this service is not known, so the policies can't be used as they are: the operator has to set"
            " GENRELAY_AWS_PRINCIPAL to the ARN of the service's IAM role, or give the service AWS credentials."
        )
    yield "If the sink belongs to another AWS account than these credentials, its own policy has to allow the same action."
    if sink["type"] != "eventbridge":
        yield (
            "If a KMS key of your own encrypts it, allow kms:GenerateDataKey and kms:Decrypt on that key, too; the key's own"
            " policy has to let them in, if it does not leave that to IAM."
        )
    if sink["endpoint_url"] is not None:
        yield "endpoint_url may lead to a server that is not Amazon's; what it makes of policies, its documentation says."
