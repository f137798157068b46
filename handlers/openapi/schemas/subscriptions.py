"""Subscriptions, their tests, and the policies of their sinks."""

from __future__ import annotations

from handlers.openapi.schema import (
    Schema,
    anything,
    choice,
    constant,
    flag,
    identifier,
    links,
    list_of,
    nullable,
    page_of,
    record,
    ref,
    text,
    time,
    whole,
)
from handlers.openapi.schemas.destinations import shown_auth
from service.events.types import PATTERNS

_STATUS = choice("Whether anything is delivered to it.", ["enabled", "disabled"])
_REASON = nullable(
    choice("Why it is disabled: somebody asked, it answered 410, or it only failed.", ["asked", "gone", "failing"])
)
_NAMES = {"sqs": "queue_url", "sns": "topic_arn", "eventbridge": "event_bus"}


def _sink(kind: str, name: str) -> Schema:
    parts: dict[str, Schema] = {
        "type": constant(kind),
        name: text("Where to."),
        "region": text("The AWS region."),
        "endpoint_url": nullable(text("An endpoint other than Amazon's.")),
        "auth": shown_auth(),
    }
    if kind != "eventbridge":
        parts["fifo"] = flag("Whether it keeps an order.")
    return record(f"A sink of type `{kind}`, without its secret.", parts)


SUBSCRIPTION = record(
    "Where an account wants events delivered. Secrets and the values of headers are not shown.",
    {
        "id": identifier("sub", "the subscription"),
        "object": constant("subscription"),
        "url": nullable(text("The webhook that is called; null where there is a sink.")),
        "sink": {"anyOf": [*(_sink(kind, name) for kind, name in _NAMES.items()), {"type": "null"}]},
        "event_types": list_of(choice("A type, or a pattern.", PATTERNS), "What it hears of."),
        "filter": anything("Only jobs with these values: `provider`, `operation`, `destination`, `metadata`."),
        "payload": choice("How much of an event is sent.", ["full", "thin", "provider"]),
        "include_test": flag("Whether test jobs count."),
        "header_names": list_of(text("The name of a header."), "Headers that are sent along."),
        "rate_limit": nullable(whole("Deliveries a second at most.")),
        "description": text("What you have noted about it."),
        "status": _STATUS,
        "disabled_at": nullable(time("When it was disabled.")),
        "disabled_reason": _REASON,
        "failing_since": nullable(time("Since when nothing but failures has come back.")),
        "open_until": nullable(time("Until when it is left alone after failures in a row.")),
        "last_success_at": nullable(time("When it last took a delivery.")),
        "signing_key_id": nullable(identifier("key", "the account's ed25519 key, which signs too; null for a sink")),
        "created_at": time("When it was made."),
        "updated_at": time("When it was changed last."),
        "links": links("self", "secret", "test", "deliveries"),
    },
)
TROUBLED_SUBSCRIPTION = record(
    "A subscription in trouble.",
    {
        "id": identifier("sub", "the subscription"),
        "object": constant("subscription"),
        "status": _STATUS,
        "disabled_reason": _REASON,
        "failing_since": nullable(time("Since when nothing but failures has come back.")),
        "links": links("self", "deliveries"),
    },
)
TESTED_SUBSCRIPTION = record(
    "The subscription that is tested.",
    {
        "id": identifier("sub", "the subscription"),
        "object": constant("subscription"),
        "description": text("What you have noted about it."),
    },
)
SUBSCRIPTION_TEST = record(
    "What came of a test.",
    {
        "ok": flag("Whether the event was taken."),
        "response_status": nullable(whole("The HTTP status of the answer.")),
        "error": nullable(text("What went wrong, in words.")),
        "duration_ms": whole("How long it took, in milliseconds."),
        "response": text("The beginning of the answer's body."),
        "event": ref("TestEvent"),
    },
)
SUBSCRIPTION_POLICY = record(
    "The IAM policies that a sink needs, to paste.",
    {
        "object": constant("subscription_policy"),
        "principal": nullable(text("Who the service is to AWS, if it is known.")),
        "external_id": nullable(text("What the role asks for.")),
        "trust_policy": nullable(anything("Who may take the role on.")),
        "permission_policy": anything("What the role or the user may do."),
        "notes": list_of({"type": "string"}, "What else has to be known."),
    },
)
SCHEMAS = {
    "Subscription": SUBSCRIPTION,
    "SubscriptionPage": page_of("Subscription"),
    "SubscriptionTest": SUBSCRIPTION_TEST,
    "SubscriptionPolicy": SUBSCRIPTION_POLICY,
    "Recovery": record("How much is delivered again.", {"recovered": whole("How many deliveries.")}),
}
