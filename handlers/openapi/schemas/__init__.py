"""What the service answers, as JSON Schemas: one module per resource."""

from __future__ import annotations

from handlers.openapi.schema import Schema
from handlers.openapi.schemas import (
    checks,
    deliveries,
    destinations,
    events,
    jobs,
    problems,
    providers,
    signing,
    subscriptions,
)

ANSWERS: dict[str, Schema] = {
    **jobs.SCHEMAS,
    **events.SCHEMAS,
    **destinations.SCHEMAS,
    **subscriptions.SCHEMAS,
    **deliveries.SCHEMAS,
    **signing.SCHEMAS,
    **providers.SCHEMAS,
    **checks.SCHEMAS,
    **problems.SCHEMAS,
}
