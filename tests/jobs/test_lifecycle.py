"""The table of the life cycle: every state with everything that can happen to it."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.jobs.lifecycle import (
    CANCELABLE,
    COPY_BEGINS,
    ENDED,
    OPEN,
    RETRYABLE,
    TABLE,
    TAKEN_IN,
    TERMINAL_EVENTS,
    UNDER_DEADLINE,
    EventType,
    Happening,
    Status,
    decide,
)

Q, S, R, C = Status.QUEUED, Status.SUBMITTING, Status.RUNNING, Status.COPYING
RETRIES = {Happening.RETRY_FROM_START, Happening.RETRY_FROM_TASK, Happening.RETRY_FROM_OUTPUTS}
FAIL = (Status.FAILED, EventType.FAILED)
CANCEL = (Status.CANCELED, EventType.CANCELED)

# The design's table, written down a second time: (state, happening) -> (next state, event). Nothing else may follow.
WANTED: dict[tuple[Status, Happening], tuple[Status, EventType | None]] = {
    (Q, Happening.SUBMIT_STARTED): (S, None),
    (S, Happening.SUBMIT_NOT_RUN): (Q, None),
    (S, Happening.SUBMIT_UNCLEAR): (S, None),
    (S, Happening.ACCEPTED): (R, EventType.SUBMITTED),
    (R, Happening.PROGRESSED): (R, EventType.PROGRESS),
    **{(state, Happening.SUCCEEDED): (C, EventType.COPYING) for state in (S, R)},
    **{(state, Happening.MOCK_SUCCEEDED): (Status.SUCCEEDED, EventType.SUCCEEDED) for state in (S, R)},
    (C, Happening.OUTPUT_STORED): (C, EventType.OUTPUT_STORED),
    (C, Happening.ALL_STORED): (Status.SUCCEEDED, EventType.SUCCEEDED),
    **{(state, Happening.FAILED): FAIL for state in (Q, S, R, C)},
    **{(state, Happening.DEADLINE_PASSED): FAIL for state in (Q, S, R)},
    **{(state, Happening.CANCELED): CANCEL for state in (Q, S, R, C)},
    **{(ended, Happening.RETRY_FROM_START): (Q, EventType.QUEUED) for ended in (Status.FAILED, Status.CANCELED)},
    **{(ended, Happening.RETRY_FROM_TASK): (R, EventType.SUBMITTED) for ended in (Status.FAILED, Status.CANCELED)},
    **{(ended, Happening.RETRY_FROM_OUTPUTS): (C, EventType.COPYING) for ended in (Status.FAILED, Status.CANCELED)},
}


@pytest.mark.parametrize("happening", Happening)
@pytest.mark.parametrize("status", Status)
def test_every_pair_of_state_and_happening_has_the_outcome_of_the_design(status: Status, happening: Happening) -> None:
    rule = decide(status, happening)
    assert (None if rule is None else (rule.next, rule.event)) == WANTED.get((status, happening))


@pytest.mark.parametrize("happening", sorted(set(Happening) - RETRIES))
@pytest.mark.parametrize("status", sorted(ENDED))
def test_nothing_but_a_retry_leaves_a_terminal_state(status: Status, happening: Happening) -> None:
    assert decide(status, happening) is None


@pytest.mark.parametrize("happening", sorted(RETRIES))
def test_a_succeeded_job_is_not_retried(happening: Happening) -> None:
    assert decide(Status.SUCCEEDED, happening) is None


def test_a_job_begins_in_the_queue_and_a_copy_of_one_with_its_outputs() -> None:
    assert (TAKEN_IN.next, TAKEN_IN.event) == (Q, EventType.QUEUED)
    assert (COPY_BEGINS.next, COPY_BEGINS.event) == (C, EventType.COPYING)


def test_an_end_is_told_by_its_own_event_and_nothing_else_is() -> None:
    for rule in TABLE.values():
        assert (rule.next in ENDED) == (rule.event in TERMINAL_EVENTS), rule
        if rule.next in ENDED:
            assert rule.event == f"job.{rule.next.value}"


def test_the_sets_of_states_agree_with_the_table() -> None:
    assert {s for s, h in TABLE if h is Happening.CANCELED} == CANCELABLE == OPEN
    assert {s for s, h in TABLE if h in RETRIES} == RETRYABLE
    assert {s for s, h in TABLE if h is Happening.DEADLINE_PASSED} == UNDER_DEADLINE
    assert {s for s, h in TABLE if h is Happening.FAILED} == OPEN


def test_every_state_can_be_reached_and_every_open_one_can_end() -> None:
    assert _reachable_from(Q) == set(Status)
    for status in OPEN:
        assert _reachable_from(status) >= ENDED


def test_only_a_submit_that_did_not_run_goes_back_to_the_queue_within_a_run() -> None:
    order = [Q, S, R, C]
    within = [(s, h, rule.next) for (s, h), rule in TABLE.items() if s in OPEN and rule.next in OPEN]
    back = {(s, h) for s, h, following in within if order.index(following) < order.index(s)}
    assert back == {(S, Happening.SUBMIT_NOT_RUN)}


@given(st.lists(st.sampled_from(list(Happening)), max_size=60))
def test_in_whatever_order_things_happen_a_run_has_one_end_and_it_is_its_last_event(
    happenings: list[Happening],
) -> None:
    status, runs = Status.QUEUED, [[EventType.QUEUED]]
    for happening in happenings:
        rule = decide(status, happening)
        if rule is None:
            continue
        if happening in RETRIES:
            runs.append([])
        status = rule.next
        runs[-1] += [rule.event] if rule.event else []
    for number, events in enumerate(runs, 1):
        ends = [event for event in events if event in TERMINAL_EVENTS]
        over = number < len(runs) or status in ENDED
        assert len(ends) == over
        assert not over or events[-1] == ends[0]


def _reachable_from(start: Status) -> set[Status]:
    seen, waiting = {start}, deque([start])
    while waiting:
        status = waiting.popleft()
        found = {rule.next for (before, _), rule in TABLE.items() if before is status} - seen
        seen |= found
        waiting += found
    return seen
