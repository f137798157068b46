"""What an account may ask for: how often, how much at once, how many jobs.

Limits of requests hold for one process and live in its memory; limits of jobs hold over all processes, and are counted in the
transaction that makes a job (service/engine/admission.py). A limit comes from the settings unless the account has one of its
own, in `accounts.limits`; null there is no limit.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from config.settings import LimitSettings
from service import metrics

NAMES = ("requests_per_second", "requests_burst", "requests_at_once", "jobs_per_minute", "open_jobs")
WHOLE = frozenset({"requests_burst", "requests_at_once", "open_jobs"})
ALWAYS = frozenset({"requests_burst", "requests_at_once"})  # these can be high, but not off
_MOST_REMEMBERED = 10_000
_SLOWEST, _FASTEST = 1e-3, 1e9  # as in the settings
_LONGEST = 999_999_999_999_999  # the largest number that a field of structured values may have
_ENOUGH = 1 - 1e-9  # a token, but for what rounding may take off it


class TooManyError(Exception):
    """A limit is reached. limit: its name in the settings; code: of the problem; retry_after: whole seconds, 1 or more."""

    def __init__(
        self, limit: str, code: str, detail: str, retry_after: float, headers: Mapping[str, str] | None = None
    ):
        super().__init__(detail)
        self.limit, self.code, self.detail = limit, code, detail
        self.retry_after = max(1, _whole(retry_after))
        self.headers = dict(headers or {})
        metrics.REQUESTS_LIMITED.labels(limit).inc()


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one account; None: no limit."""

    requests_per_second: float | None = None
    requests_burst: int = 50
    requests_at_once: int = 1000
    jobs_per_minute: float | None = None
    open_jobs: int | None = None


def merge_limits(settings: LimitSettings, own: Mapping[str, Any]) -> Limits:
    """Return the settings' limits with an account's own over them; what can't be one in the latter is passed over."""
    given = {name: getattr(settings, name) for name in NAMES}
    return Limits(**given | {name: own[name] for name in NAMES if name in own and is_limit(name, own[name])})


def is_limit(name: str, value: Any) -> bool:
    """Tell whether a value can be the limit of that name."""
    if value is None:
        return name not in ALWAYS
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    if name in WHOLE:
        return isinstance(value, int) and 1 <= value < 2**31
    return _SLOWEST <= value < _FASTEST


class Bucket:
    """A token bucket: `burst` tokens at most, `rate` a second come back. Times are seconds of a clock that never goes back."""

    __slots__ = ("_at", "tokens")

    def __init__(self, burst: int, now: float) -> None:
        self.tokens, self._at = float(burst), now

    def take(self, rate: float, burst: int, now: float) -> float:
        """Take a token; returns 0, or the seconds until there is one, and then none was taken."""
        self.refill(rate, burst, now)
        if self.tokens < _ENOUGH:
            return (1 - self.tokens) / rate
        self.tokens = max(0.0, self.tokens - 1)
        return 0.0

    def refill(self, rate: float, burst: int, now: float) -> None:
        """Bring the bucket up to date."""
        self.tokens = min(float(burst), self.tokens + max(0.0, now - self._at) * rate)
        self._at = max(self._at, now)


class _Account:
    __slots__ = ("bucket", "limits", "under_way")

    def __init__(self, limits: Limits, now: float) -> None:
        self.limits = limits
        self.bucket = Bucket(limits.requests_burst, now)
        self.under_way = 0

    def is_idle(self, now: float) -> bool:
        """Tell whether forgetting it changes nothing."""
        rate = self.limits.requests_per_second
        if rate is not None:
            self.bucket.refill(rate, self.limits.requests_burst, now)
        return not self.under_way and (rate is None or self.bucket.tokens >= self.limits.requests_burst)


class RequestLimits:
    """How many requests of each account are under way in this process, and how many it may begin."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._accounts: dict[UUID, _Account] = {}

    def enter(self, account_id: UUID, limits: Limits) -> dict[str, str]:
        """Let a request in, and return the headers that tell of its limit; whoever gets them calls `leave` once.

        Raises TooManyError, and then there is nothing to leave.
        """
        now = self._clock()
        account = self._account(account_id, limits, now)
        if account.under_way >= limits.requests_at_once:
            detail = (
                f"{limits.requests_at_once} requests of the account are under way at this process, as many as may be"
            )
            raise TooManyError("requests_at_once", "too_many_requests_at_once", detail, 1)
        headers = self._take(account, limits, now)
        account.under_way += 1
        return headers

    def leave(self, account_id: UUID) -> None:
        """Say that a request is over."""
        account = self._accounts[account_id]
        account.under_way -= 1
        if not account.under_way and account.limits.requests_per_second is None:
            del self._accounts[account_id]

    def under_way(self, account_id: UUID) -> int:
        """Return how many requests of an account are under way."""
        account = self._accounts.get(account_id)
        return 0 if account is None else account.under_way

    def _account(self, account_id: UUID, limits: Limits, now: float) -> _Account:
        account = self._accounts.get(account_id)
        if account is None:
            if len(self._accounts) >= _MOST_REMEMBERED:
                self._accounts = {key: each for key, each in self._accounts.items() if not each.is_idle(now)}
            account = self._accounts[account_id] = _Account(limits, now)
        account.limits = limits
        return account

    def _take(self, account: _Account, limits: Limits, now: float) -> dict[str, str]:
        rate, burst = limits.requests_per_second, limits.requests_burst
        if rate is None:
            return {}
        wait = account.bucket.take(rate, burst, now)
        headers = _headers(rate, burst, account.bucket.tokens)
        if wait:
            detail = f"the account may make {rate:g} requests a second, {burst} at once, to this process"
            raise TooManyError("requests_per_second", "too_many_requests", detail, wait, headers)
        return headers


def _headers(rate: float, burst: int, tokens: float) -> dict[str, str]:
    """Return the fields of draft-ietf-httpapi-ratelimit-headers; t: seconds until all of the quota is there again."""
    left = math.floor(tokens + 1e-9)
    return {
        "RateLimit-Policy": f'"requests";q={burst};w={max(1, _whole(burst / rate))}',
        "RateLimit": f'"requests";r={left};t={max(0, _whole((burst - tokens) / rate))}',
    }


def _whole(seconds: float) -> int:
    return math.ceil(min(seconds, _LONGEST))
