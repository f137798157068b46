"""Webhook checks."""

from __future__ import annotations

from handlers.openapi.schema import choice, constant, flag, identifier, list_of, nullable, record, text
from service.providers.registry import PROVIDERS
from service.webhook_checks.report import OF_A_JOB, OF_THE_URL
from service.webhook_checks.request import BOTH

_SECONDS = {"type": "number", "minimum": 0, "description": "How long it took."}

SCHEMAS = {
    "WebhookCheck": record(
        "Whether a provider's callbacks arrive, step by step.",
        {
            "object": constant("webhook_check"),
            "provider": choice("Which provider was asked.", PROVIDERS),
            "operation": text("Which operation was used."),
            "public_url": nullable(text("Where callbacks are sent to.")),
            "ok": flag("Whether no step failed."),
            "seconds": _SECONDS,
            "steps": list_of(
                record(
                    "One step.",
                    {
                        "step": choice("Which one.", (*OF_THE_URL, *OF_A_JOB)),
                        "ok": nullable(flag("Whether it worked; null when it was not tried or does not matter.")),
                        "code": nullable(text("What went wrong; null when all is well.")),
                        "message": nullable(text("What happened.")),
                        "hint": nullable(text("What to do about it.")),
                        "seconds": nullable(_SECONDS),
                        "job_id": nullable(identifier("job", "the test job")),
                        "return_task_status": nullable(choice("What the mock was to say.", BOTH)),
                    },
                ),
                "The steps, in the order in which a callback would meet them.",
            ),
        },
    )
}
