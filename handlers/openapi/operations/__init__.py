"""Every operation, by method and path: a route that is not in here fails a test."""

from __future__ import annotations

from handlers.openapi.operation import Operation
from handlers.openapi.operations import (
    account,
    callbacks,
    deliveries,
    destinations,
    events,
    jobs,
    providers,
    subscriptions,
    watching,
)

OPERATIONS: dict[tuple[str, str], Operation] = {
    **jobs.OPERATIONS,
    **events.OPERATIONS,
    **destinations.OPERATIONS,
    **subscriptions.OPERATIONS,
    **deliveries.OPERATIONS,
    **account.OPERATIONS,
    **providers.OPERATIONS,
    **callbacks.OPERATIONS,
    **watching.OPERATIONS,
}
