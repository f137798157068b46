"""Deliveries and their attempts."""

from __future__ import annotations

from handlers.openapi.schema import (
    choice,
    constant,
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
from service.events.deliveries import STATUSES
from service.events.types import TYPES

REASONS = ["exhausted", "refused", "gone", "failing", "disabled", "deleted"]

_DELIVERY = {
    "id": identifier("dlv", "the delivery"),
    "object": constant("delivery"),
    "event_id": identifier("evt", "the event that is delivered"),
    "event_type": choice("The type of that event.", TYPES),
    "job_id": nullable(identifier("job", "the job that the event is about")),
    "subscription_id": identifier("sub", "the subscription that it goes to"),
    "payload": choice("How much of the event is sent.", ["full", "thin", "provider"]),
    "status": choice("What became of it.", STATUSES),
    "reason": nullable(choice("Why it ended without being delivered.", REASONS)),
    "attempt_count": whole("How often it was tried."),
    "response_status": nullable(whole("The HTTP status of the last answer.")),
    "next_attempt_at": nullable(time("When it is tried next.")),
    "created_at": time("When the event happened."),
    "ended_at": nullable(time("When it ended.")),
    "links": links("self", "resend", "subscription"),
}
ATTEMPT = record(
    "One try to deliver.",
    {
        "number": whole("1 for the first one.", minimum=1),
        "started_at": time("When it began."),
        "duration_ms": whole("How long it took, in milliseconds."),
        "outcome": choice(
            "`ours`: it failed on this side, and is not charged to the endpoint.", ["delivered", "failed", "ours"]
        ),
        "response_status": nullable(whole("The HTTP status of the answer.")),
        "error": nullable(text("What went wrong, in words.")),
        "response": text("The beginning of the answer's body."),
    },
)
FAILED_DELIVERY = record(
    "A delivery that was given up.",
    {
        **{name: _DELIVERY[name] for name in ("id", "object", "event_id", "event_type")},
        "job_id": identifier("job", "the job that the event is about"),
        **{
            name: _DELIVERY[name]
            for name in ("subscription_id", "status", "reason", "attempt_count", "response_status")
        },
        "error": nullable(text("What the last try met, in words.")),
        "links": links("self", "subscription"),
    },
)
SCHEMAS = {
    "Delivery": record("An event on its way to a subscription.", _DELIVERY),
    "DeliveryPage": page_of("Delivery"),
    "DeliveryWithAttempts": record(
        "A delivery with every try.", {**_DELIVERY, "attempts": list_of(ref("Attempt"), "Its tries, oldest first.")}
    ),
    "Attempt": ATTEMPT,
}
