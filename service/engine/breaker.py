"""The circuit breaker: a provider that is down is left alone, but for one call now and then that tries whether it is back."""

from __future__ import annotations

import random
from collections.abc import Callable
from enum import Enum

import structlog

from config.settings import BreakerSettings
from service import metrics

log = structlog.get_logger()


class Went(Enum):
    """How a call went, as far as the provider's health is concerned."""

    WELL = "well"  # any answer below 500 is one of a provider that lives, also a refusal
    BADLY = "badly"  # not reached, no whole answer, or a 5xx
    UNTRIED = "untried"  # it says nothing about the provider


class Breaker:
    """Opens after several failures in a row; then one call at a time may try, after pauses that double."""

    def __init__(self, provider: str, operation: str, settings: BreakerSettings, clock: Callable[[], float]) -> None:
        self._names = provider, operation
        self._settings = settings
        self._clock = clock
        self._failures = 0
        self._openings = 0
        self._opens_at: float | None = None
        self.trying = False
        self.reason = ""

    @property
    def closed(self) -> bool:
        """Whether everybody may go."""
        return self._opens_at is None

    @property
    def wait(self) -> float:
        """Return the seconds until a call may try, 0 when one may go now."""
        return 0.0 if self._opens_at is None else max(0.0, self._opens_at - self._clock())

    def begin(self) -> bool:
        """Let a call go; returns whether it is the one that tries, whose end is to be told in any case."""
        if self.closed or self.trying:
            return False
        self.trying = True
        return True

    def end(self, went: Went, reason: str = "", *, tried: bool = False) -> None:
        """Take note of how a call went. tried: what `begin` said of it."""
        if tried:
            self.trying = False
        if went is Went.WELL:
            self._failures = 0
            self._close()
        elif went is Went.BADLY:
            self._failures += 1
            self.reason = reason
            # What was under way when it opened says nothing new.
            if tried or (self.closed and self._failures >= self._settings.failures):
                self._open()

    def _open(self) -> None:
        pause = min(self._settings.max_seconds, self._settings.first_seconds * 2.0 ** min(self._openings, 30))
        # Jitter, so that several processes don't all try in the same moment.
        pause *= random.uniform(0.8, 1.0)  # noqa: S311 - not a secret
        self._opens_at = self._clock() + pause
        self._openings += 1
        if self._openings == 1:
            provider, operation = self._names
            metrics.BREAKER_OPEN.labels(provider, operation).set(1)
            log.warning(
                "provider.left_alone",
                provider=provider,
                operation=operation,
                reason=self.reason,
                failures=self._failures,
                seconds=round(pause, 1),
            )

    def _close(self) -> None:
        if self._opens_at is None:
            return
        self._opens_at, self._openings, self.reason = None, 0, ""
        provider, operation = self._names
        metrics.BREAKER_OPEN.labels(provider, operation).set(0)
        log.info("provider.back", provider=provider, operation=operation)
