"""What is posted to webhooks: one entry per type of event."""

from __future__ import annotations

from typing import Any

from handlers.openapi.examples import FULL_EVENT, THIN_EVENT
from handlers.openapi.schema import Schema, ref
from handlers.openapi.schemas import ANSWERS
from service.events.types import ACCOUNT_TYPES, JOB_TYPES, TEST
from service.events.webhooks import CLOUD_EVENT

# Which the provider itself would have told its webhook of.
_ENDINGS = ("job.succeeded", "job.failed")
_TOLD = {
    "job.queued": "A job was taken in, or begins another run",
    "job.submitted": "The provider has taken a job",
    "job.progress": "A job has come further",
    "job.callback": "A provider's callback was judged",
    "job.copying": "A job's outputs are on their way to the bucket",
    "output.stored": "An output is in the bucket",
    "job.succeeded": "A job has succeeded",
    "job.failed": "A job has failed",
    "job.canceled": "A job was canceled",
    "destination.failing": "A bucket began to refuse what it is sent",
    "destination.recovered": "A bucket takes outputs again",
    "subscription.failing": "An endpoint has only failed for a day",
    "subscription.disabled": "An endpoint was given up",
    "delivery.failed": "An event could not be delivered for good",
    "subscription.test": "A subscription is tested",
}
_HEADERS = {
    "webhook-id": ("The event's id, the same at every try: drop what you have seen.", {"type": "string"}),
    "webhook-timestamp": ("When this try was made, in seconds since 1970.", {"type": "string", "pattern": "^[0-9]+$"}),
    "webhook-signature": (
        "Signatures of `id.timestamp.body` as Standard Webhooks has them, with spaces between them: `v1,` HMAC-SHA256, "
        "`v1a,` ed25519; several while a secret is rotated.",
        {"type": "string", "pattern": "^v1a?,"},
    ),
}


def webhooks() -> dict[str, Any]:
    """Return the document's `webhooks`."""
    return {kind: {"post": _operation(kind)} for kind in (*JOB_TYPES, *ACCOUNT_TYPES, TEST)}


def _operation(kind: str) -> dict[str, Any]:
    content: dict[str, Any] = {CLOUD_EVENT: {"schema": _body(kind)}}
    if kind == FULL_EVENT["type"]:
        content[CLOUD_EVENT]["examples"] = {"full": {"value": FULL_EVENT}, "thin": {"value": THIN_EVENT}}
    description = (
        "Delivered until it is answered 2xx, at least once; the body of a try is the same as that of the first."
    )
    if kind in _ENDINGS:
        description += " With `webhook_payload: provider` the body is what the provider would have posted."
    return {
        "operationId": "on_" + kind.replace(".", "_"),
        "tags": ["Webhooks"],
        "summary": _TOLD[kind],
        "description": description,
        "security": [],
        "parameters": [
            {"name": name, "in": "header", "required": True, "description": description, "schema": schema}
            for name, (description, schema) in _HEADERS.items()
        ],
        "requestBody": {"required": True, "content": content},
        "responses": {
            "2XX": {"description": "It was taken."},
            "410": {"description": "Nothing more is wanted here: the subscription is disabled."},
            "default": {"description": "It was not taken, and is tried again; `Retry-After` is obeyed."},
        },
    }


def _body(kind: str) -> Schema:
    shapes = [name for name in _SHAPES if kind in ANSWERS[name]["properties"]["type"]["enum"]]
    typed = {"properties": {"type": {"const": kind}}}
    found = [{**ref(name), **typed} for name in shapes]
    if kind in _ENDINGS:
        # A job may ask for what its provider would have said.
        found.append(
            {"type": "object", "not": {"required": ["specversion"]}, "description": "The provider's own body."}
        )
    return found[0] if len(found) == 1 else {"anyOf": found}


_SHAPES = ("JobEvent", "ThinJobEvent", "DestinationEvent", "SubscriptionEvent", "DeliveryEvent", "TestEvent")
