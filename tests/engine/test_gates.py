"""Gates: how many calls a provider may have under way in this process, and for how long it asked to be left in peace."""

from __future__ import annotations

from contextlib import ExitStack
from uuid import UUID, uuid4

import pytest

from config.loading import load_settings
from service.configured import configured_providers
from service.engine.calls import Calls
from service.engine.gate import Gate
from service.engine.gates import Gates
from service.net.calls import AnswerLostError, NothingTriedError, NotSentError
from tests.engine.lining import TXT2IMG, WHOLE

SOMEBODY = UUID(int=1)


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still."""
    return Clock()


def make_gates(clock: Clock, **more: str) -> Gates:
    """Return the gates of a process with 16 places."""
    settings = load_settings({"GENRELAY_ENGINE__CONCURRENCY": "8", "GENRELAY_ENGINE__CALLS": "2", **more})
    gates = Gates(settings, configured_providers(settings), Calls())
    gates.clock = clock
    return gates


@pytest.fixture
def gates(clock: Clock) -> Gates:
    """The gates of a process with 16 places: 8 are for a provider's submits, 4 for its read-backs."""
    return make_gates(clock)


@pytest.fixture
def gate(gates: Gates) -> Gate:
    """The way to one operation."""
    return gates.submits("novita", "txt2img")


def test_a_provider_never_has_all_places_of_a_process(gates: Gates) -> None:
    for name in ("txt2img", "img2img"):
        while gates.submits("novita", name).free():
            gates.submits("novita", name).enter()
    while gates.look_ups("novita").free():
        gates.look_ups("novita").enter()
    taken = gates.submits("novita", "txt2img").room.taken + gates.look_ups("novita").room.taken
    assert taken == 12
    assert gates.submits("modelslab", "text2img").free() == 8
    assert gates.look_ups("modelslab").free() == 4


def test_calls_that_take_minutes_have_a_room_of_their_own(gates: Gates) -> None:
    long = gates.submits("novita", "seedream-4.0")
    assert long.free() == 2
    long.enter()
    assert (long.free(), gates.submits("novita", "seedream-4.5").free()) == (1, 1)
    assert gates.submits("novita", "txt2img").free() == 8


def test_no_long_call_begins_in_a_process_that_stops(clock: Clock) -> None:
    settings = load_settings({})
    calls = Calls()
    gates = Gates(settings, configured_providers(settings), calls)
    calls.open = False
    assert gates.submits("novita", "seedream-4.0").is_closed_for(SOMEBODY)
    with gates.deciding(SOMEBODY):
        assert not gates.submits("novita", "txt2img").is_closed_for(SOMEBODY)


def test_a_place_is_given_back_once_however_the_call_ends(gate: Gate) -> None:
    with pytest.raises(KeyError), gate.enter() as visit:
        assert gate.free() == 7
        raise KeyError
    visit.leave()
    assert gate.free() == 8


def test_jobs_that_are_being_decided_on_are_doubted_for_every_provider(gates: Gates, gate: Gate) -> None:
    with ExitStack() as others:
        for _ in range(7):
            others.enter_context(gates.deciding(uuid4()))
        others.enter_context(gates.deciding(SOMEBODY))
        assert not gate.is_closed_for(SOMEBODY), "seven others and itself are eight"
        visit = gate.enter()
        assert gate.is_closed_for(SOMEBODY)
        assert gates.look_ups("novita").free() == 4, "a read-back knows whose it is"
        visit.leave()
    assert gate.free() == 8


def test_a_kept_place_is_the_jobs_own_until_it_comes_or_time_is_up(gates: Gates, gate: Gate, clock: Clock) -> None:
    gate.keep(SOMEBODY, 10)
    while gate.free():
        gate.enter()
    with gates.deciding(uuid4()):
        assert gate.is_closed_for(uuid4())
    with gates.deciding(SOMEBODY):
        assert not gate.is_closed_for(SOMEBODY)
    assert gate.free() == 1
    gate.keep(SOMEBODY, 10)
    clock.now += 11
    assert gate.free() == 1


def test_the_dispatcher_is_woken_for_a_lane_that_lacked_room_once_there_is_some(gates: Gates, gate: Gate) -> None:
    visits = [gate.enter() for _ in range(8)]
    gate.block(3, "room")
    with gates.deciding(uuid4()):
        pass
    gates.ring()
    assert not gates.bell.is_set(), "there is none"
    visits[0].leave()
    assert gates.bell.is_set()
    assert not gate.is_blocked


def test_the_dispatcher_is_woken_by_a_decision_only_where_that_was_what_filled_a_lane(gates: Gates, gate: Gate) -> None:
    for _ in range(7):
        gate.enter()
    other = gates.submits("modelslab", "text2img")
    other.block(3, "slots")
    with gates.deciding(uuid4()):
        gate.block(3, "room")
    assert gates.bell.is_set()
    assert (gate.is_blocked, other.is_blocked) == (False, True)


@pytest.mark.parametrize("lacks", ["time", "images"])
def test_nothing_that_happens_here_wakes_the_dispatcher_for_a_lane_that_only_the_clock_can_open(
    gates: Gates, gate: Gate, lacks: str
) -> None:
    gate.block(30, lacks)
    with gates.deciding(uuid4()):
        gate.enter().leave()
    gates.joined("novita", "txt2img")
    gates.ring()
    assert not gates.bell.is_set()


def test_a_429_lets_nobody_go_for_the_told_time(gate: Gate, clock: Clock) -> None:
    visit = gate.enter()
    visit.answered(429)
    visit.refused(7)
    visit.leave()
    assert gate.is_closed_for(SOMEBODY)
    assert gate.opens_in == 7
    clock.now += 7
    assert gate.free() == 8


def test_429s_without_a_time_pause_it_for_a_second_first_and_longer_each_time(gate: Gate, clock: Clock) -> None:
    pauses = []
    for _ in range(8):
        gate.pause(None)
        gate.pause(None)  # of two that were under way together
        pauses.append(gate.opens_in)
        clock.now += gate.opens_in
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]
    visit = gate.enter()
    visit.answered(200)
    visit.leave()
    gate.pause(None)
    assert gate.opens_in == 1


def test_a_provider_that_says_at_once_again_and_again_is_not_asked_at_once(gate: Gate, clock: Clock) -> None:
    pauses = []
    for _ in range(6):
        gate.pause(0)
        pauses.append(gate.opens_in)
        clock.now += gate.opens_in
    assert pauses == [0.5, 1, 2, 4, 8, 10]


def test_nobody_is_told_to_wait_for_more_than_an_hour(gate: Gate) -> None:
    gate.pause(100_000)
    assert gate.opens_in == 3600


def test_read_backs_are_kept_waiting_no_longer_than_between_two_polls_for_outputs_do_not_live_long(
    gates: Gates,
) -> None:
    gate = gates.look_ups("novita")
    gate.pause(7200)
    assert gate.opens_in == 300


def test_an_operation_called_look_up_is_an_operation_like_any_other(clock: Clock) -> None:
    name = "GENRELAY_PROVIDERS__MODELSLAB__OPERATIONS__LOOK_UP__"
    gates = make_gates(clock, **{name + "PATH": "/api/v1/enterprise/realtime/look_up", name + "CONCURRENCY": "1"})
    gate = gates.submits("modelslab", "look_up")
    assert gate is not gates.look_ups("modelslab")
    assert gate.limited
    assert gate in gates.lanes()


def test_limits_are_found_by_every_spelling_of_an_operations_name(clock: Clock) -> None:
    seedream = "GENRELAY_PROVIDERS__NOVITA__OPERATIONS__SEEDREAM_4_0__CONCURRENCY"
    gates = make_gates(clock, **{seedream: "3", TXT2IMG + "IMAGES_PER_MINUTE": "60"})
    assert gates.submits("novita", "seedream-4.0").limits.concurrency == 3
    assert gates.submits("novita", "txt2img").limits.images_per_minute == 60
    assert sorted(gates.held()) == ["novita/seedream-4.0", "novita/txt2img"]


def test_under_a_providers_own_limit_every_operation_of_it_asks_for_a_grant(clock: Clock) -> None:
    gates = make_gates(clock, **{WHOLE + "CONCURRENCY": "3"})
    assert {lane.partition("/")[0] for lane in gates.held()} == {"novita"}
    assert "novita/upscale" in gates.held()


def test_without_limits_and_trouble_nobody_is_held_or_kept_out(gates: Gates) -> None:
    with gates.deciding(SOMEBODY):
        assert gates.held() == gates.closed_for(SOMEBODY) == gates.full_look_ups() == []


def test_only_where_test_jobs_go_to_the_provider_does_its_gate_count_for_them(gates: Gates) -> None:
    assert gates.native(["novita/txt2img", "novita/seedream-4.0", "novita/gone"]) == ["novita/txt2img"]


def test_what_waits_for_a_read_back_comes_in_order_once_a_place_is_free(gates: Gates) -> None:
    look_ups = gates.look_ups("novita")
    visits = [look_ups.enter() for _ in range(4)]
    jobs = [uuid4() for _ in range(3)]
    for job_id in [*jobs, jobs[0]]:
        look_ups.park("settle", job_id)
    assert gates.full_look_ups() == ["novita"]
    assert gates.next_parked() is None
    visits[0].leave()
    assert [gates.next_parked() for _ in range(4)] == [("settle", job_id) for job_id in jobs] + [None]


@pytest.mark.parametrize("error", [NotSentError("ConnectError"), AnswerLostError("ReadTimeout")])
def test_calls_that_reach_nobody_five_times_in_a_row_close_the_gate(gate: Gate, error: NotSentError) -> None:
    for number in range(5):
        assert gate.free() == 8, number
        with gate.enter() as visit:
            visit.failed(error)
    assert gate.is_closed_for(SOMEBODY)
    assert gate.trouble == str(error)


def test_what_was_not_tried_for_a_reason_of_our_own_says_nothing(gate: Gate) -> None:
    for _ in range(10):
        with gate.enter() as visit:
            visit.failed(NothingTriedError("too late"))
        gate.enter().leave()
    assert gate.free() == 8


def test_test_jobs_that_fail_are_not_counted_but_are_kept_out_of_a_dead_provider_too(gates: Gates, gate: Gate) -> None:
    for _ in range(10):
        with gate.enter(counts=False) as visit:
            visit.answered(503)
    assert gate.free() == 8
    for _ in range(5):
        with gate.enter() as visit:
            visit.answered(503)
    with gates.deciding(SOMEBODY):
        assert gates.native(gates.closed_for(SOMEBODY)) == ["novita/txt2img"]
