"""Where providers post."""

from __future__ import annotations

from handlers.openapi.operation import Answer, Body, Operation
from handlers.openapi.schema import Schema

_TAG = "Callbacks"
_EMPTY: Schema = {"type": "object", "maxProperties": 0}

OPERATIONS = {
    ("POST", "/v1/callbacks/{provider}/{token}"): Operation(
        id="receive_callback",
        tag=_TAG,
        summary="Take a provider's callback",
        description=(
            "For providers, not for clients: the token in the path, which this service made, is the key. Whatever the body "
            "is, it is kept and judged later."
        ),
        body=Body({}, required=False, media_type="*/*"),
        # Nobody asks for a provider's request by its id, and this is the one path where each microsecond counts.
        answers={200: Answer("It is kept.", {"application/json": _EMPTY}, named=False)},
        problems=["not_found", "body_too_large", "too_slow"],
        open=True,
    ),
}
