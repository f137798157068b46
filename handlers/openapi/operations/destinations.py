"""Destinations: customers' buckets."""

from __future__ import annotations

from handlers.openapi.operation import Answer, Body, Operation, Parameter, answer
from handlers.openapi.parameters import LIMIT, cursor, text
from handlers.openapi.schema import ref

_TAG = "Destinations"
_CHECK = Parameter(
    "check", "Whether to write, read and delete a probe right away.", {"type": "boolean", "default": True}
)
_EXAMPLES = {
    "access key": {
        "bucket": "acme-renders",
        "region": "eu-central-1",
        "path": "renders",
        "auth": {
            "type": "access_key",
            "access_key_id": "AKIAIOSFODNN7EXAMPLE",
            "secret_access_key": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        },
    },
    "role": {
        "bucket": "acme-renders",
        "region": "eu-central-1",
        "auth": {"type": "assume_role", "role_arn": "arn:aws:iam::123456789012:role/genrelay"},
        "encryption": {"type": "aws:kms", "key_id": "alias/renders"},
        "tags": {"made-by": "genrelay"},
        "key_template": "{date}/{job_id}-{index:02}.{ext}",
        "manifest": True,
    },
}

OPERATIONS = {
    ("GET", "/v1/destinations"): Operation(
        id="list_destinations",
        tag=_TAG,
        summary="List destinations",
        description="Lists the account's destinations by name.",
        parameters=[LIMIT, text("cursor", "The `next_cursor` of the page before.")],
        answers={200: answer("DestinationPage", "A page of destinations.")},
    ),
    ("PUT", "/v1/destinations/{name}"): Operation(
        id="put_destination",
        tag=_TAG,
        summary="Make or replace a destination",
        description=(
            "Makes or replaces a destination, and checks its bucket. It is there whatever the check says. Its secret is "
            "encrypted, and never shown again."
        ),
        parameters=[_CHECK],
        body=Body(ref("DestinationRequest"), _EXAMPLES),
        answers={
            200: answer("DestinationWithCheck", "The destination, replaced."),
            201: answer("DestinationWithCheck", "The destination, new."),
        },
    ),
    ("GET", "/v1/destinations/{name}"): Operation(
        id="get_destination",
        tag=_TAG,
        summary="Show a destination",
        description="Shows a destination without its secret.",
        answers={200: answer("Destination", "The destination.")},
        problems=["not_found"],
    ),
    ("DELETE", "/v1/destinations/{name}"): Operation(
        id="delete_destination",
        tag=_TAG,
        summary="Delete a destination",
        description="Deletes a destination. Jobs under way still reach its bucket; nothing is deleted in it.",
        answers={204: Answer("It is deleted.")},
        problems=["not_found"],
    ),
    ("POST", "/v1/destinations/{name}/check"): Operation(
        id="check_destination",
        tag=_TAG,
        summary="Check a destination",
        description="Really writes, reads and deletes a probe. The answer is 200 whatever becomes of it.",
        answers={200: answer("DestinationCheck", "What became of each step.")},
        problems=["not_found"],
    ),
    ("GET", "/v1/destinations/{name}/events"): Operation(
        id="list_destination_events",
        tag=_TAG,
        summary="List a destination's events",
        description="Lists when the destination began to fail and when it recovered, oldest first.",
        parameters=[LIMIT, cursor("evt")],
        answers={200: answer("DestinationEventPage", "A page of events.")},
        problems=["not_found"],
    ),
    ("GET", "/v1/destinations/{name}/policy"): Operation(
        id="get_destination_policy",
        tag=_TAG,
        summary="Show a destination's IAM policies",
        description="Shows the IAM policies that the destination needs, to paste, and as Terraform. Nothing is asked of AWS.",
        answers={200: answer("DestinationPolicy", "The policies.")},
        problems=["not_found"],
    ),
}
