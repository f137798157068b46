"""One try to deliver one event: what is sent, and what came of it. Webhooks and sinks alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from service.events.subscription import Subscription

Outcome = Literal["delivered", "failed", "ours"]


@dataclass(frozen=True, slots=True)
class Letter:
    """event_id, subject, delivery_id: as they are shown (`evt_…`, `job_…`, `dlv_…`). body: the CloudEvent's bytes, or a
    provider's own. attempt: counts from 1. sequence: the event's number in its job, None for an account's own event.
    headers: what goes with a provider's own body over HTTP, in place of a CloudEvent's content type. traceparent: the trace of
    the event's job.
    """

    delivery_id: str
    event_id: str
    type: str
    subject: str
    source: str
    sequence: int | None
    attempt: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of a try.

    outcome: `ours` when the endpoint is not to blame, and is not charged. status: HTTP's, of a sink too where it has one.
    error: in words, without secrets. response: the beginning of the answer's body. retry_after: seconds it asked for.
    gone: it wants nothing more (410). final: trying again can't help (the guard refused it). this_one: the trouble is this
    event's alone (too large, can't be made), and says nothing of the endpoint. slow_down: it is overloaded.
    """

    outcome: Outcome
    status: int | None = None
    error: str | None = None
    response: bytes = b""
    retry_after: float | None = None
    gone: bool = False
    final: bool = False
    this_one: bool = False
    slow_down: bool = False


class Channel(Protocol):
    """A way to deliver: never raises for what an endpoint does."""

    async def send(self, subscription: Subscription, letter: Letter) -> Reply:
        """Try once; bounded in time and in what is read."""
        ...
