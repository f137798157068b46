"""Problems: RFC 9457."""

from __future__ import annotations

from handlers.openapi.schema import choice, list_of, nullable, record, text
from handlers.problems import TITLES

SCHEMAS = {
    "Problem": record(
        "An answer other than the one hoped for (RFC 9457).",
        {
            "type": text("The page that explains it, relative to this service.", format="uri-reference"),
            "title": text("What kind of problem it is."),
            "status": {"type": "integer", "minimum": 400, "maximum": 599, "description": "The HTTP status."},
            "detail": text("What is wrong this time."),
            "code": choice("What kind of problem it is, for programs.", TITLES),
            "request_id": text("The id of the request, which the service's log has too."),
            "errors": list_of({"$ref": "#/components/schemas/Mistake"}, "Of `invalid_request`: one per mistake."),
        },
    ),
    "Mistake": record(
        "One mistake in a request.",
        {
            "path": text("The field, parameter or header; `body` for the whole."),
            "rule": text("What it must be."),
            "got": nullable(text("What came, unless it may be a secret.")),
            "detail": text("All of it in one sentence."),
        },
    ),
}
