"""Events, as pages and as streams."""

from __future__ import annotations

from handlers.accept import EVENT_STREAM
from handlers.openapi.operation import JSON, Answer, Operation, Parameter
from handlers.openapi.parameters import LAST_EVENT_ID, LIMIT, METADATA, TEST, text
from handlers.openapi.schema import Schema, choice, list_of, ref
from service.events.types import PATTERNS

_TAG = "Events"
_STREAM: Schema = {
    "type": "string",
    "description": (
        "Server-Sent Events: `id:` is the event's id, `event:` its type, `data:` the event in JSON. A comment comes when it "
        "has been quiet for a while."
    ),
}
_HEADERS = ("Cache-Control", "Vary")
_TYPE = Parameter(
    "type", "Only events of these types, with commas between them.", list_of(choice("A type or a pattern.", PATTERNS)),
    style="form", example=["job.*"],
)  # fmt: skip
_LISTS = "Several go with commas between them."

OPERATIONS = {
    ("GET", "/v1/events"): Operation(
        id="list_events",
        tag=_TAG,
        summary="Read or follow the account's events",
        description=(
            "Shows what happened to anything of the account, oldest first; with `Accept: text/event-stream` as a stream that "
            "goes on. A page with a filter may hold fewer events than asked for, even none, while `has_more` is true."
        ),
        parameters=[
            LIMIT,
            text("cursor", "The `next_cursor` of the page before."),
            text("after", "The id of the last event that you have, or `start`.", example="start"),
            _TYPE,
            text("provider", f"Only jobs of these providers. {_LISTS}"),
            text("operation", f"Only jobs of these operations. {_LISTS}"),
            text("destination", f"Only jobs for these destinations. {_LISTS}"),
            TEST,
            METADATA,
            LAST_EVENT_ID,
        ],
        answers={
            200: Answer("A page of events, or a stream.", {JSON: ref("EventPage"), EVENT_STREAM: _STREAM}, _HEADERS)
        },
        problems=["too_many_streams", "event_gone"],
    ),
    ("GET", "/v1/jobs/{id}/events"): Operation(
        id="list_job_events",
        tag=_TAG,
        summary="Read or follow a job's events",
        description=(
            "Shows what happened to a job, oldest first; with `Accept: text/event-stream` as a stream that ends with the job."
        ),
        parameters=[
            LIMIT,
            text("cursor", "The `next_cursor` of the page before."),
            text("after", "The id or the number of the last event that you have, or `start`.", example="3"),
            LAST_EVENT_ID,
        ],
        answers={
            200: Answer("A page of events, or a stream.", {JSON: ref("JobEventPage"), EVENT_STREAM: _STREAM}, _HEADERS),
            204: Answer("Of streams: the job has ended, and there is nothing left to tell.", {}, _HEADERS),
        },
        problems=["not_found", "too_many_streams", "event_gone"],
    ),
}
