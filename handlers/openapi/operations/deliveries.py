"""Deliveries: what became of each event on its way to each subscription."""

from __future__ import annotations

from handlers.openapi.operation import Operation, Parameter, answer
from handlers.openapi.parameters import LIMIT, cursor
from handlers.openapi.schema import choice, identifier
from service.events.deliveries import STATUSES

_TAG = "Deliveries"
JOB = Parameter("job", "Only deliveries of this job's events.", identifier("job", "a job"))
SUBSCRIPTION = Parameter("subscription", "Only deliveries to this subscription.", identifier("sub", "a subscription"))
STATUS = Parameter("status", "Only deliveries in this state.", choice("A state.", STATUSES))
EVENT_TYPE = Parameter(
    "event_type", "Only deliveries of events of this type.", {"type": "string"}, example="job.succeeded"
)

OPERATIONS = {
    ("GET", "/v1/deliveries"): Operation(
        id="list_deliveries",
        tag=_TAG,
        summary="List deliveries",
        description="Lists the account's deliveries, newest first.",
        parameters=[LIMIT, cursor("dlv"), JOB, SUBSCRIPTION, STATUS, EVENT_TYPE],
        answers={200: answer("DeliveryPage", "A page of deliveries.")},
    ),
    ("GET", "/v1/deliveries/{id}"): Operation(
        id="get_delivery",
        tag=_TAG,
        summary="Show a delivery",
        description="Shows a delivery with every try: status, duration and the beginning of the answer.",
        answers={200: answer("DeliveryWithAttempts", "The delivery.")},
        problems=["not_found"],
    ),
    ("POST", "/v1/deliveries/{id}/resend"): Operation(
        id="resend_delivery",
        tag=_TAG,
        summary="Deliver once more",
        description="Sends a delivery again, whatever became of it.",
        answers={202: answer("Delivery", "It is on its way again.", "Location")},
        problems=["not_found", "subscription_stopped"],
    ),
}
