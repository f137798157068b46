"""When a delivery is tried again: the schedule, what an endpoint asked for, and where it ends."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Literal

from config.settings import DeliverySettings
from service.events.letter import Reply

# Of these an endpoint's Retry-After is obeyed, and it is left alone for a moment.
SLOW_DOWN = frozenset({429, 502, 503, 504})
_JITTER = 0.1
_LONGEST_OURS = 60.0  # seconds
_MOST_OURS = 5000  # tries that were our fault, three days of them, after which even such a delivery ends
_SLOW_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Next:
    """What becomes of a delivery after a try.

    verdict: `gone` is `failed`, and the endpoint wants nothing more; `unfit` is `failed`, and not charged to the endpoint.
    pause: seconds until the next try of a pending one. slow: seconds for which nothing at all is sent to the endpoint, 0 for
    none; after a try that failed because of us, more than 0 if the next one to this endpoint may fail likewise.
    """

    verdict: Literal["delivered", "failed", "gone", "unfit", "pending"]
    reason: str | None = None
    pause: float = 0.0
    slow: float = 0.0


def decide_next(reply: Reply, *, failures: int, ours: int, settings: DeliverySettings) -> Next:
    """Decide what follows a try. failures: earlier tries that the endpoint failed; ours: those that it is not to blame for."""
    if reply.outcome == "delivered":
        return Next("delivered")
    if reply.outcome == "ours":
        slow = 0.0 if reply.this_one else _SLOW_SECONDS
        if ours >= _MOST_OURS:
            return Next("failed", "exhausted", slow=slow)
        return Next("pending", pause=ours_pause(ours), slow=slow)
    if reply.gone:
        return Next("gone", "gone")
    slow = _slow_for(reply, settings)
    if reply.final:
        return Next("unfit" if reply.this_one else "failed", "refused")
    if failures >= len(settings.retry_schedule):
        return Next("failed", "exhausted", slow=slow)
    pause = jittered(settings.retry_schedule[failures])
    return Next("pending", pause=max(pause, reply.retry_after or 0.0), slow=slow)


def _slow_for(reply: Reply, settings: DeliverySettings) -> float:
    if not reply.slow_down:
        return 0.0
    asked = min(_SLOW_SECONDS, settings.breaker_first_seconds) if reply.retry_after is None else reply.retry_after
    return min(asked, settings.breaker_max_seconds)


def longest_seconds(settings: DeliverySettings) -> float:
    """Return for how long what a delivery is made of has to be kept: its schedule at its longest, and a day."""
    return sum(settings.retry_schedule) * (1.0 + _JITTER) + 86_400


def jittered(pause: float) -> float:
    """Return a pause a little longer: never shorter, so that a schedule of 72 hours is one."""
    return pause * random.uniform(1.0, 1.0 + _JITTER)  # noqa: S311 - jitter, not a secret


def ours_pause(earlier: int) -> float:
    """Return the seconds until the next try after one that failed because of us."""
    return jittered(min(_LONGEST_OURS, 2.0 ** min(earlier, 10)))


def read_retry_after(values: Sequence[str], status: int, longest: float, now: datetime | None = None) -> float | None:
    """Return for how many seconds an answer asks to be left alone, at most `longest`; None: it does not, or can't be read.

    https://www.rfc-editor.org/rfc/rfc9110#field.retry-after: seconds, or a date.
    """
    if status not in SLOW_DOWN or len(values) != 1:
        return None
    text = values[0].strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:12]), longest)
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return min(max((at - (now or datetime.now(UTC))).total_seconds(), 0.0), longest)
