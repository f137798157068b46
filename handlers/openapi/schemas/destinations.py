"""Destinations, their checks and their policies."""

from __future__ import annotations

from handlers.openapi.schema import (
    Schema,
    anything,
    choice,
    constant,
    flag,
    list_of,
    nullable,
    page_of,
    record,
    ref,
    text,
    texts,
    time,
)


def shown_auth() -> Schema:
    """Return whose credentials are used, as it is shown: without a secret."""
    return {
        "description": "Whose credentials are used, without a secret.",
        "oneOf": [
            record(
                "An IAM user's access key.",
                {"type": constant("access_key"), "access_key_id": text("Which key it is.")},
            ),
            record(
                "A role of yours that lets this service in.",
                {
                    "type": constant("assume_role"),
                    "role_arn": text("The role."),
                    "external_id": text(
                        "What this service says when it takes the role on; its trust policy asks for it."
                    ),
                },
            ),
            record("The service's own AWS credentials.", {"type": constant("ambient")}),
        ],
    }


_DESTINATION = {
    "object": constant("destination"),
    "name": text("What jobs call it."),
    "bucket": text("The bucket."),
    "region": text("Its AWS region."),
    "endpoint_url": nullable(text("The S3 server; null for Amazon's.")),
    "path": text("What every key begins with; may be empty."),
    "save_to_path_directly": flag("Whether keys have no folder of the job's own."),
    "auth": shown_auth(),
    "expected_bucket_owner": nullable(text("The AWS account that the bucket must belong to.")),
    "encryption": nullable(
        record(
            "The encryption that is asked for.",
            {
                "type": choice("Which kind.", ["AES256", "aws:kms"]),
                "key_id": nullable(text("The KMS key.")),
                "bucket_key": flag("Whether an S3 Bucket Key is used."),
            },
        )
    ),
    "storage_class": nullable(text("The storage class of objects.")),
    "tags": texts("Tags of every object."),
    "acl": nullable(
        choice("The canned ACL of every object.", ["private", "bucket-owner-full-control", "bucket-owner-read"])
    ),
    "key_template": nullable(text("How keys are made, if not as usual.")),
    "manifest": flag("Whether a manifest is written beside the outputs."),
    "status": choice("Whether it takes outputs, as far as it is known.", ["ok", "failing", "unchecked"]),
    "checked_at": nullable(time("When it was checked last.")),
    "failing_since": nullable(time("Since when it refuses what it is sent.")),
    "failure": nullable(
        record(
            "Why it is failing.",
            {
                "code": text("S3's own code, or the job's `error.code`."),
                "message": text("What happened."),
                "hint": nullable(text("What to do about it; null or empty if that is not known.")),
            },
        )
    ),
    "created_at": time("When it was made."),
    "updated_at": time("When it was replaced last."),
}
STEP = record(
    "One step of a check.",
    {
        "step": text("Which one."),
        "ok": flag("Whether it worked."),
        "code": nullable(text("S3's own code, `skipped` when it could not be tried, null when all is well.")),
        "message": nullable(text("What happened.")),
        "hint": nullable(text("What to do about it.")),
    },
)
CHECK = record(
    "What became of a check.",
    {
        "ok": flag("Whether every step worked."),
        "steps": list_of(ref("DestinationCheckStep"), "The steps, in their order."),
    },
)
POLICY = record(
    "The IAM policies that a destination needs, to paste.",
    {
        "object": constant("destination_policy"),
        "principal": nullable(text("Who the service is to AWS, if it is known.")),
        "external_id": nullable(text("What the role asks for.")),
        "trust_policy": nullable(anything("Who may take the role on.")),
        "permission_policy": anything("What the role or the user may do."),
        "terraform": text("The same as Terraform."),
        "notes": list_of({"type": "string"}, "What else has to be known."),
    },
)
SCHEMAS = {
    "Destination": record("A bucket and how to write to it, without its secret.", _DESTINATION),
    "DestinationPage": page_of("Destination"),
    "DestinationWithCheck": record(
        "A destination, and what its check came to; null when none was asked for.",
        {**_DESTINATION, "check": nullable(ref("DestinationCheck"))},
    ),
    "DestinationCheck": CHECK,
    "DestinationCheckStep": STEP,
    "DestinationPolicy": POLICY,
}
