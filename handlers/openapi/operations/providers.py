"""Providers, and whether their callbacks arrive."""

from __future__ import annotations

from handlers.openapi.operation import Body, Operation, answer
from handlers.openapi.schema import ref

_TAG = "Providers"

OPERATIONS = {
    ("GET", "/v1/providers"): Operation(
        id="list_providers",
        tag=_TAG,
        summary="List providers",
        description="Lists what can be asked for, with the JSON Schema of each `input`.",
        answers={200: answer("ProviderList", "All providers.")},
    ),
    ("POST", "/v1/webhook-checks"): Operation(
        id="check_webhooks",
        tag=_TAG,
        summary="Check whether a provider's callbacks arrive",
        description=(
            "Sends test jobs, which cost nothing, through a provider, and waits for their callbacks: within a minute, with "
            "what became of each step."
        ),
        body=Body(ref("WebhookCheckRequest"), {"novita": {"provider": "novita"}}),
        answers={200: answer("WebhookCheck", "What became of each step.")},
        problems=["too_many_checks"],
    ),
}
