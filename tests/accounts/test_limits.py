"""The token bucket, how limits are put together, and places that are always given back."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from config.settings import LimitSettings
from service.limits import Bucket, Limits, RequestLimits, TooManyError, merge_limits

ACCOUNT, OTHER = UUID(int=1), UUID(int=2)
RATES = st.floats(0.01, 1000)
BURSTS = st.integers(1, 100)
PAUSES = st.lists(st.floats(0, 20), max_size=60)


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@given(RATES, BURSTS, PAUSES)
def test_a_bucket_never_gives_more_than_its_burst_and_what_came_back(
    rate: float, burst: int, pauses: list[float]
) -> None:
    bucket, now, taken = Bucket(burst, 0.0), 0.0, 0
    for pause in pauses:
        now += pause
        taken += bucket.take(rate, burst, now) == 0
        assert taken <= burst + now * rate + 1e-6


@given(RATES, BURSTS, PAUSES)
def test_a_bucket_says_truly_when_there_is_a_token_again(rate: float, burst: int, pauses: list[float]) -> None:
    bucket, now = Bucket(burst, 0.0), 0.0
    for pause in pauses:
        now += pause
        wait = bucket.take(rate, burst, now)
        if wait:
            assert bucket.take(rate, burst, now + wait * 0.99) > 0, "not any sooner"
            now += wait
            assert bucket.take(rate, burst, now) == 0


@given(RATES, BURSTS, st.integers(1, 200))
def test_as_many_as_the_burst_come_at_once_and_no_more(rate: float, burst: int, tries: int) -> None:
    bucket = Bucket(burst, 5.0)
    assert sum(bucket.take(rate, burst, 5.0) == 0 for _ in range(tries)) == min(burst, tries)


def test_a_clock_that_goes_back_gives_nothing_away() -> None:
    bucket = Bucket(1, 100.0)
    assert bucket.take(1.0, 1, 100.0) == 0
    assert bucket.take(1.0, 1, 50.0) > 0
    assert bucket.take(1.0, 1, 100.5) > 0
    assert bucket.take(1.0, 1, 101.0) == 0


def test_an_accounts_own_limits_stand_over_those_of_the_settings() -> None:
    settings = LimitSettings(jobs_per_minute=60, open_jobs=10)
    assert merge_limits(settings, {}) == Limits(jobs_per_minute=60, open_jobs=10)
    own = {"jobs_per_minute": None, "open_jobs": 3, "requests_at_once": 7}
    assert merge_limits(settings, own) == Limits(open_jobs=3, requests_at_once=7)


@pytest.mark.parametrize("value", [0, -1, "7", True, [], {}, 1.5, float("nan"), 10**12])
def test_what_can_not_be_a_limit_is_passed_over(value: Any) -> None:
    merged = merge_limits(LimitSettings(open_jobs=10), {"open_jobs": value, "requests_at_once": None, "nonsense": 1})
    assert merged == Limits(open_jobs=10)


@pytest.mark.parametrize("value", [1e-308, 0.0009, 1e9, float("inf")])
def test_a_rate_that_nobody_can_reckon_with_is_none(value: float) -> None:
    for name in ("requests_per_second", "jobs_per_minute"):
        assert merge_limits(LimitSettings(), {name: value}) == Limits()
        with pytest.raises(ValidationError):
            LimitSettings(**{name: value})


@pytest.mark.parametrize("name", ["requests_burst", "requests_at_once", "open_jobs"])
def test_a_count_that_no_database_takes_is_none(name: str) -> None:
    assert merge_limits(LimitSettings(), {name: 2**31}) == Limits()
    with pytest.raises(ValidationError):
        LimitSettings(**{name: 2**31})


def test_the_slowest_rate_can_be_told() -> None:
    limits = merge_limits(LimitSettings(), {"requests_per_second": 0.001, "requests_burst": 2**31 - 1})
    assert (
        RequestLimits(Clock()).enter(ACCOUNT, limits)["RateLimit-Policy"] == '"requests";q=2147483647;w=2147483647000'
    )
    assert TooManyError("jobs_per_minute", "too_many_jobs", "", float("inf")).retry_after == 999_999_999_999_999


def test_no_more_requests_are_under_way_than_may_be_and_accounts_are_apart() -> None:
    requests, limits = RequestLimits(Clock()), Limits(requests_at_once=3)
    for _ in range(3):
        requests.enter(ACCOUNT, limits)
    with pytest.raises(TooManyError) as refused:
        requests.enter(ACCOUNT, limits)
    assert (refused.value.code, refused.value.retry_after) == ("too_many_requests_at_once", 1)
    requests.enter(OTHER, limits)
    requests.leave(ACCOUNT)
    requests.enter(ACCOUNT, limits)
    assert (requests.under_way(ACCOUNT), requests.under_way(OTHER)) == (3, 1)


def test_who_is_refused_for_being_too_fast_takes_no_place_and_who_finds_none_takes_no_token() -> None:
    clock, limits = Clock(), Limits(requests_per_second=1, requests_burst=2, requests_at_once=1)
    requests = RequestLimits(clock)
    requests.enter(ACCOUNT, limits)
    for _ in range(5):
        with pytest.raises(TooManyError, match="under way"):
            requests.enter(ACCOUNT, limits)
    requests.leave(ACCOUNT)
    requests.enter(ACCOUNT, limits)
    requests.leave(ACCOUNT)
    with pytest.raises(TooManyError, match="1 requests a second"):
        requests.enter(ACCOUNT, limits)
    assert requests.under_way(ACCOUNT) == 0
    clock.now += 1
    requests.enter(ACCOUNT, limits)


def test_what_is_left_is_told_with_every_answer() -> None:
    requests, limits = RequestLimits(Clock()), Limits(requests_per_second=2, requests_burst=10)
    assert requests.enter(ACCOUNT, limits) == {
        "RateLimit-Policy": '"requests";q=10;w=5',
        "RateLimit": '"requests";r=9;t=1',
    }
    assert requests.enter(OTHER, Limits()) == {}


def test_accounts_that_are_idle_are_forgotten_and_those_that_owe_something_are_not() -> None:
    clock, limits = Clock(), Limits(requests_per_second=1, requests_burst=1)
    requests = RequestLimits(clock)
    for number in range(10_000):
        requests.enter(UUID(int=number), limits)
        requests.leave(UUID(int=number))
    clock.now += 0.5
    requests.enter(UUID(int=10_000), limits)
    with pytest.raises(TooManyError):
        requests.enter(UUID(int=3), limits)
    clock.now += 0.5
    requests.enter(UUID(int=10_001), limits)
    assert len(requests._accounts) == 2, "those whose bucket is full again are like new"
