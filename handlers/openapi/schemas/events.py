"""Events: CloudEvents 1.0, the same in lists, streams and webhooks."""

from __future__ import annotations

from typing import Any

from handlers.openapi.schema import (
    Schema,
    choice,
    constant,
    identifier,
    nullable,
    page_of,
    record,
    ref,
    text,
    time,
    whole,
)
from handlers.openapi.schemas.deliveries import FAILED_DELIVERY
from handlers.openapi.schemas.jobs import JOB
from handlers.openapi.schemas.subscriptions import TESTED_SUBSCRIPTION, TROUBLED_SUBSCRIPTION
from service.callbacks.verdict import Verdict
from service.events.body import THIN
from service.events.types import ACCOUNT_TYPES, JOB_TYPES, TEST

_ENVELOPE: dict[str, Schema] = {
    "specversion": constant("1.0"),
    "id": identifier("evt", "the event, the same whichever way it comes"),
    "source": text("This service, by its public URL."),
    "type": text("What has happened."),
    "subject": text("What it has happened to: a job's id, a destination's name, a subscription's or a delivery's id."),
    "time": time("When it happened."),
    "datacontenttype": constant("application/json"),
}
_SEQUENCE = whole("The event's number within its job: 1, 2, 3 … without gaps.", minimum=1)
_TOLD_CALLBACK = record(
    "Of `job.callback`: what became of the callback.",
    {
        "verdict": choice("The verdict.", [each.value for each in Verdict]),
        "attempt": whole("Which attempt of the job it was posted for."),
        "received_at": time("When it came."),
    },
)


_TOLD_OUTPUT = {**nullable(ref("Output")), "description": "Of `output.stored`: the file that is in the bucket now."}


def event_of(types: list[str], data: Schema, description: str) -> Schema:
    """Return the schema of events of some types, which have the same data."""
    return record(description, {**_ENVELOPE, "type": choice("What has happened.", types), "data": data})


def _job_data(job: Schema, *, with_more: bool) -> Schema:
    parts: dict[str, Any] = {"sequence": _SEQUENCE, "job": job}
    if not with_more:
        return record("What it takes to look the rest up.", parts)
    more = {"callback": _TOLD_CALLBACK, "output": _TOLD_OUTPUT}
    return record("The job as it was then.", {**parts, **more}, optional=more)


JOB_EVENT = event_of(list(JOB_TYPES), _job_data(ref("Job"), with_more=True), "Something happened to a job.")
THIN_JOB = record("What a thin event says of its job.", {name: JOB["properties"][name] for name in THIN})
THIN_JOB_EVENT = event_of(
    list(JOB_TYPES),
    _job_data(ref("ThinJob"), with_more=False),
    "Something happened to a job, told in few words: what `payload: thin` asks for.",
)
_OF_DESTINATION = [each for each in ACCOUNT_TYPES if each.startswith("destination.")]
_OF_SUBSCRIPTION = [each for each in ACCOUNT_TYPES if each.startswith("subscription.")]
_OF_DELIVERY = [each for each in ACCOUNT_TYPES if each.startswith("delivery.")]

SCHEMAS: dict[str, Schema] = {
    "JobEvent": JOB_EVENT,
    "ThinJob": THIN_JOB,
    "ThinJobEvent": THIN_JOB_EVENT,
    "DestinationEvent": event_of(
        _OF_DESTINATION,
        record("The destination as it was then.", {"destination": ref("Destination")}),
        "A destination began to fail, or takes outputs again.",
    ),
    "SubscriptionEvent": event_of(
        _OF_SUBSCRIPTION,
        record("The subscription, without its URL.", {"subscription": TROUBLED_SUBSCRIPTION}),
        "A subscription's endpoint only fails, or was given up.",
    ),
    "DeliveryEvent": event_of(
        _OF_DELIVERY,
        record("The delivery.", {"delivery": FAILED_DELIVERY}),
        "An event could not be delivered for good.",
    ),
    "TestEvent": event_of(
        [TEST],
        record("The subscription that is tested.", {"subscription": TESTED_SUBSCRIPTION}),
        "What the test of a subscription sends; it is in no feed.",
    ),
    "Event": {
        "description": "Anything that happens to an account's things.",
        "oneOf": [ref(name) for name in ("JobEvent", "DestinationEvent", "SubscriptionEvent", "DeliveryEvent")],
    },
    "EventPage": page_of("Event"),
    "JobEventPage": page_of("JobEvent"),
    "DestinationEventPage": page_of("DestinationEvent"),
}
