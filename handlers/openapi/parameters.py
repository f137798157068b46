"""Parameters that several operations take, and headers of requests and answers."""

from __future__ import annotations

from typing import Any

from handlers.openapi.operation import Parameter
from handlers.openapi.schema import choice, identifier
from service.jobs.lifecycle import Status

LIMIT = Parameter(
    "limit", "How many to show.", {"type": "integer", "minimum": 1, "maximum": 100, "default": 20}, example=50
)


def cursor(prefix: str) -> Parameter:
    """Return where the page begins, for a list whose cursors are ids."""
    return Parameter(
        "cursor", "The `next_cursor` of the page before.", identifier(prefix, "the last one of the page before")
    )


METADATA = Parameter(
    "metadata",
    "Only jobs whose metadata has all of these pairs: `metadata[order]=42`.",
    {"type": "object", "additionalProperties": {"type": "string"}},
    style="deepObject",
    example={"order": "42"},
)
TEST = Parameter("test", "Only test jobs, or none of them.", {"type": "boolean"})


def text(name: str, description: str, **more: Any) -> Parameter:
    """Return a parameter that is any text."""
    return Parameter(name, description, {"type": "string"}, **more)


def moment(name: str, description: str) -> Parameter:
    """Return a parameter that is a time."""
    return Parameter(name, description, {"type": "string", "format": "date-time"}, example="2026-11-20T00:00:00Z")


STATUS = Parameter("status", "Only jobs in this state.", choice("A state.", [status.value for status in Status]))
PROVIDER = Parameter("provider", "Only jobs of this provider.", {"type": "string"}, example="novita")
OPERATION = Parameter("operation", "Only jobs of this operation.", {"type": "string"}, example="txt2img")
DESTINATION = Parameter("destination", "Only jobs for this destination.", {"type": "string"}, example="acme")
IDEMPOTENCY_KEY = Parameter(
    "Idempotency-Key",
    "Makes repeating the request safe: for 24 hours the same key gets the same job. With another body it is refused.",
    {"type": "string", "minLength": 1, "maxLength": 255},
    place="header",
    example="order-42-render-1",
)
PREFER = Parameter(
    "Prefer",
    "`wait=30` answers when the job has ended, after 30 s at the latest (RFC 7240); at most 60 s. `?wait=` wins.",
    {"type": "string"},
    place="header",
    example="wait=30",
)
LAST_EVENT_ID = Parameter(
    "Last-Event-ID",
    "For streams: the id of the last event that was seen. The stream goes on right behind it.",
    {"type": "string"},
    place="header",
)

HEADERS: dict[str, Any] = {
    "X-Request-Id": {
        "description": "The request's id: the one that was sent, if it was sound, or a new one.",
        "required": True,
        "schema": {"type": "string"},
    },
    "Location": {
        "description": "The path of what was made.",
        "required": True,
        "schema": {"type": "string", "format": "uri-reference"},
    },
    "SignedLocation": {
        "description": "A signed URL of the file. Whoever has it can read the file until it ends.",
        "required": True,
        "schema": {"type": "string", "format": "uri"},
    },
    "Retry-After": {
        "description": "Seconds to wait before another try, where one is worth it.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "RateLimit": {
        "description": "How many requests are left (`r`), and after how many seconds all of them are (`t`); only where "
        "the account's requests are limited.",
        "schema": {"type": "string"},
    },
    "RateLimit-Policy": {
        "description": "How many requests may come (`q`) in how many seconds (`w`); only where they are limited.",
        "schema": {"type": "string"},
    },
    "WWW-Authenticate": {
        "description": "How to authenticate.",
        "required": True,
        "schema": {"type": "string"},
    },
    "Idempotency-Replayed": {
        "description": "Present when the job was made by an earlier request with the same key.",
        "schema": {"type": "string", "const": "true"},
    },
    "Preference-Applied": {
        "description": "The preference that was obeyed, if one came in `Prefer`.",
        "schema": {"type": "string"},
    },
    "Cache-Control": {"description": "Who may keep the answer, and for how long.", "schema": {"type": "string"}},
    "ETag": {"description": "The version of the document.", "required": True, "schema": {"type": "string"}},
    "Vary": {"description": "Which headers of the request decide about the answer.", "schema": {"type": "string"}},
}
