"""A subscription as it is in memory: where an account wants events delivered, and how it has gone lately."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

Origin = Literal["api", "job"]
Payload = Literal["full", "thin", "provider"]


@dataclass(frozen=True, slots=True)
class Subscription:
    """One row of `subscriptions`, with its account's name and external id. Either `url` or `sink` is set.

    origin: `job` stands for the `webhook` of jobs, and is signed with the account's own secret. signing, headers,
    sink_secret: encrypted JSON. rate_limit: deliveries a second.
    """

    id: UUID
    account_id: UUID
    account_name: str
    external_id: str
    origin: Origin
    url: str | None = field(repr=False)  # it may hold a token
    sink: dict[str, Any] | None
    event_types: list[str]
    filter: dict[str, Any]
    payload: Payload
    include_test: bool
    rate_limit: int | None
    description: str
    header_names: list[str]
    headers: bytes | None = field(repr=False)
    signing: bytes | None = field(repr=False)
    sink_secret: bytes | None = field(repr=False)
    failures: int
    failing_since: datetime | None
    warned_at: datetime | None
    open_until: datetime | None
    next_at: datetime | None
    last_success_at: datetime | None
    disabled_at: datetime | None
    disabled_reason: str | None
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None


def read_subscription(row: Mapping[str, Any]) -> Subscription:
    """Read a row of `subscriptions` joined with its account; further columns are left out."""
    return Subscription(**{name: row[name] for name in _COLUMNS})


_COLUMNS = tuple(each.name for each in fields(Subscription))
