"""Which types of event there are, and which patterns ask for them."""

from __future__ import annotations

from service.jobs.lifecycle import EventType

JOB_TYPES: tuple[str, ...] = tuple(each.value for each in EventType)
# What happens to an account's destinations, subscriptions and deliveries.
ACCOUNT_TYPES = (
    "destination.failing",
    "destination.recovered",
    "subscription.failing",
    "subscription.disabled",
    "delivery.failed",
)
TYPES = (*JOB_TYPES, *ACCOUNT_TYPES)
# A type, everything of one kind of thing, or everything.
PATTERNS = ("*", *dict.fromkeys(f"{each.split('.', 1)[0]}.*" for each in TYPES), *TYPES)
# What the test of a subscription sends: it happens to nothing, so nobody can ask for it.
TEST = "subscription.test"
