"""When a delivery is tried again, decided without a clock or a network."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.settings import DeliverySettings
from service.events.letter import Reply
from service.events.schedule import decide_next, ours_pause, read_retry_after

SETTINGS = DeliverySettings()
NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)


@given(st.integers())
def test_the_default_schedule_covers_72_hours_whatever_the_jitter(_seed: int) -> None:
    pauses = []
    for failures in range(len(SETTINGS.retry_schedule)):
        following = decide_next(Reply("failed", status=500), failures=failures, ours=0, settings=SETTINGS)
        assert following.verdict == "pending"
        assert SETTINGS.retry_schedule[failures] <= following.pause <= SETTINGS.retry_schedule[failures] * 1.1
        pauses.append(following.pause)
    assert sum(pauses) >= 72 * 3600
    last = decide_next(Reply("failed", status=500), failures=len(pauses), ours=0, settings=SETTINGS)
    assert (last.verdict, last.reason) == ("failed", "exhausted")


def test_what_is_asked_for_only_makes_a_pause_longer() -> None:
    asked = Reply("failed", status=503, retry_after=60.0, slow_down=True)
    assert decide_next(asked, failures=0, ours=0, settings=SETTINGS).pause == 60
    assert decide_next(asked, failures=5, ours=0, settings=SETTINGS).pause >= 3600


@given(st.integers(0, 10**6))
def test_the_pause_after_a_fault_of_ours_is_bounded(earlier: int) -> None:
    assert 1 <= ours_pause(earlier) <= 66


def test_even_what_is_our_fault_ends_some_day() -> None:
    assert decide_next(Reply("ours"), failures=0, ours=4999, settings=SETTINGS).verdict == "pending"
    assert decide_next(Reply("ours"), failures=0, ours=5000, settings=SETTINGS).verdict == "failed"


@pytest.mark.parametrize(
    ("values", "status", "found"),
    [
        (["120"], 429, 120),
        ([" 7 "], 503, 7),
        (["0"], 503, 0),
        (["Sat, 21 Nov 2026 12:01:00 GMT"], 502, 60),
        (["Sat, 21 Nov 2026 11:00:00 GMT"], 504, 0),
        (["Sat, 21 Nov 2026 12:01:00 -0000"], 504, 60),
        (["9" * 400], 429, 21_600),
        (["120"], 500, None),
        (["120"], 200, None),
        (["1", "2"], 429, None),
        ([], 429, None),
        (["-5"], 429, None),
        (["1.5"], 429, None),
        (["٣"], 429, None),
        (["Sat, 99 Nov 99999999999 12:01:00 GMT"], 429, None),
        (["soon"], 429, None),
    ],
)
def test_retry_after_is_read_as_seconds_or_a_date(values: list[str], status: int, found: float | None) -> None:
    assert read_retry_after(values, status, 21_600, NOW) == found
