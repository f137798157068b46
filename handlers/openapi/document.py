"""The OpenAPI 3.1 document: https://spec.openapis.org/oas/v3.1.1.html"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from handlers.openapi.examples import EXAMPLES
from handlers.openapi.operations import OPERATIONS
from handlers.openapi.outcomes import problem_examples, problem_responses
from handlers.openapi.parameters import HEADERS
from handlers.openapi.requests import request_schemas
from handlers.openapi.schema import Schema, choice
from handlers.openapi.schemas import ANSWERS
from handlers.openapi.webhooks import webhooks
from handlers.problems import TITLES

_DESCRIPTION = """\
Submit image-generation jobs to providers, have their callbacks verified, and get the outputs in your own bucket.

Every route but those for watching and reading needs an API key: `Authorization: Bearer <api key>`.

Lists are pages of `limit` things, 20 unless told otherwise; `next_cursor` is the `cursor` of the next page. Times are RFC \
3339, in UTC. Parameters and fields that are not known are mistakes; answers may have more fields some day, so leave those \
alone that you do not know. Whatever goes wrong is a problem document (RFC 9457) with a `code`, and a request that is \
understood but wrong gets one entry in `errors` per mistake.
"""
_TAGS = {
    "Jobs": "Submit, read, wait, list, cancel, retry, copy.",
    "Events": "What happened, in order, as pages or as a stream.",
    "Destinations": "Your buckets.",
    "Subscriptions": "Where you want events delivered.",
    "Deliveries": "What became of each event on its way to you.",
    "Signing": "What deliveries are signed with.",
    "Providers": "What can be asked for.",
    "Callbacks": "Where providers post.",
    "Service": "For whoever watches over the service.",
    "Webhooks": "What is posted to you.",
}


def make_document(server: str | None = None) -> dict[str, Any]:
    """Return the document. server: the service's public URL; without it, paths are relative to where the document is."""
    return {
        "openapi": "3.1.1",
        "info": {"title": "genrelay", "version": version("genrelay"), "description": _DESCRIPTION},
        "jsonSchemaDialect": "https://spec.openapis.org/oas/3.1/dialect/base",
        "servers": [{"url": server or "/"}],
        "security": [{"bearer": []}],
        "tags": [{"name": name, "description": description} for name, description in _TAGS.items()],
        "paths": _paths(),
        "webhooks": webhooks(),
        "components": {
            "schemas": dict(sorted(document_schemas().items())),
            "responses": problem_responses(),
            "headers": HEADERS,
            "examples": problem_examples(),
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An API key, from `genrelay keys create`.",
                }
            },
        },
    }


def document_schemas() -> dict[str, Schema]:
    """Return the document's schemas, by name."""
    asked = request_schemas()
    twice = asked.keys() & ANSWERS.keys()
    assert not twice, f"two schemas of one name: {twice}"
    return {**asked, **ANSWERS, "ProblemCode": choice("A kind of problem.", TITLES)}


def _paths() -> dict[str, Any]:
    paths: dict[str, Any] = {}
    for (method, path), operation in OPERATIONS.items():
        paths.setdefault(path, {})[method.lower()] = operation.as_json(path, EXAMPLES)
    return paths
