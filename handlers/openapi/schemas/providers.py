"""Providers, and how the process is."""

from __future__ import annotations

from handlers.openapi.schema import anything, choice, constant, flag, list_of, record, text, texts
from service.providers.registry import PROVIDERS

SCHEMAS = {
    "ProviderList": record(
        "All providers, on one page.",
        {
            "data": list_of({"$ref": "#/components/schemas/Provider"}),
            "next_cursor": {"type": "null"},
            "has_more": {"type": "boolean", "const": False},
        },
    ),
    "Provider": record(
        "A provider, and what can be asked of it.",
        {
            "object": constant("provider"),
            "name": choice("What jobs call it.", PROVIDERS),
            "available": flag("Whether this service has a key for it."),
            "operations": list_of(
                record(
                    "One of its operations.",
                    {
                        "name": text("What jobs call it."),
                        "path": text("Its path at the provider."),
                        "test_mode": flag("Whether test jobs are possible: they always are."),
                        "native_test_mode": flag("Whether the provider itself sends the mocks."),
                        "input_schema": anything("The JSON Schema of `input`."),
                    },
                )
            ),
        },
    ),
    "Liveness": record("Whether the process runs.", {"ok": flag("Whether all is well.")}),
    "Readiness": record(
        "Whether requests can be served.",
        {
            "ok": flag("Whether every check is well."),
            "checks": {
                "type": "object",
                "description": "What was looked at.",
                "additionalProperties": {"type": "boolean"},
            },
            "reasons": texts("What is wrong, by check; absent when nothing is."),
        },
        optional=["reasons"],
    ),
}
