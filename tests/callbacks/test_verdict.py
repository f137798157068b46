"""Reading a callback: a hint at most, and never an exception."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.callbacks.verdict import AskAbout, Believe, Park, Verdict, compare, read
from service.jobs.errors import ErrorCode, JobError
from service.jobs.lifecycle import Status, SubmitState
from service.jobs.model import Job
from service.providers.contract import CallbackHint, Failed, Source, StillRunning, Succeeded, TaskNotFound
from service.providers.registry import PROVIDERS

NOVITA = PROVIDERS["novita"]
NOW = datetime(2026, 1, 1, tzinfo=UTC)
SUCCEED, FAILED = "TASK_STATUS_SUCCEED", "TASK_STATUS_FAILED"


def job(status: Status = Status.RUNNING, **changes: Any) -> Job:
    values: dict[str, Any] = {
        "id": UUID(int=1), "account_id": UUID(int=2), "provider": "novita", "operation": "txt2img", "status": status,
        "test_status": None, "destination": "acme", "destination_id": UUID(int=3), "storage": None, "run": 1,
        "attempt": 1, "version": 1, "submit_state": None, "provider_task_id": "task-1", "provider_status": None,
        "progress": None, "verified_by": None, "error": None, "metadata": {}, "webhook": None, "webhook_events": None,
        "on_unclear": "fail", "tries": 0, "starts": 0, "rereads": 0, "read_back_at": None, "last_event": 1,
        "created_at": NOW, "submitted_at": NOW, "completed_at": None, "deadline_at": NOW, "due_at": NOW,
        "nudged_at": None, "deadline_seconds": 3600, "images": 1, "track_id": None, "copy_of": None,
        "source_expires_at": None, **changes,
    }  # fmt: skip
    return Job(**values)


def event(status: str = SUCCEED, task_id: str | None = "task-1", event_type: str = "ASYNC_TASK_RESULT") -> bytes:
    task = {"status": status, **({} if task_id is None else {"task_id": task_id})}
    return json.dumps({"event_type": event_type, "payload": {"task": task, "images": []}}).encode()


IN_FLIGHT = {"submit_state": SubmitState.IN_FLIGHT, "provider_task_id": None}
UNCLEAR = {"submit_state": SubmitState.UNCLEAR, "provider_task_id": None}
STATES: list[tuple[Status, dict[str, Any]]] = [
    *((status, {}) for status in Status if status is not Status.SUBMITTING),
    (Status.SUBMITTING, IN_FLIGHT),
    (Status.SUBMITTING, UNCLEAR),
]


@given(
    st.sampled_from(STATES),
    st.sampled_from([None, SUCCEED, FAILED]),
    st.integers(0, 3),
    st.binary(max_size=300) | st.text(max_size=300).map(lambda text: text.encode("utf-8", "surrogatepass")),
)
def test_any_bytes_in_any_state_give_a_reading(
    state: tuple[Status, dict[str, Any]], test_status: str | None, attempt: int, body: bytes
) -> None:
    reading = read(NOVITA, job(state[0], test_status=test_status, **state[1]), attempt, body)
    assert isinstance(reading, Verdict | AskAbout | Believe | Park)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=10,
)


@given(st.sampled_from(STATES), st.sampled_from([None, SUCCEED]), json_values, json_values, json_values)
def test_anything_in_the_place_of_anything_gives_a_reading(
    state: tuple[Status, dict[str, Any]], test_status: str | None, task: Any, images: Any, extra: Any
) -> None:
    body = {"event_type": "ASYNC_TASK_RESULT", "payload": {"task": task, "images": images, "extra": extra}}
    reading = read(NOVITA, job(state[0], test_status=test_status, **state[1]), 1, json.dumps(body).encode())
    # Whatever is claimed: for a real job it leads to a question to the provider at most.
    assert test_status is not None or not isinstance(reading, Believe)


@given(st.binary(max_size=200), st.integers(0, 3))
def test_no_body_of_a_real_job_is_ever_believed(body: bytes, attempt: int) -> None:
    for status, changes in STATES:
        assert not isinstance(read(NOVITA, job(status, **changes), attempt, body), Believe)


@pytest.mark.parametrize("body", [event(), event(FAILED), b"", b"garbage"])
@pytest.mark.parametrize("test_status", [None, SUCCEED])
@pytest.mark.parametrize("status", [Status.SUCCEEDED, Status.FAILED, Status.CANCELED])
def test_after_the_end_everything_is_late(status: Status, test_status: str | None, body: bytes) -> None:
    assert read(NOVITA, job(status, test_status=test_status), 1, body) is Verdict.LATE


def test_while_outputs_are_copied_everything_is_a_duplicate() -> None:
    assert read(NOVITA, job(Status.COPYING), 1, event()) is Verdict.DUPLICATE


@pytest.mark.parametrize("attempt", [0, 2, 3])
@pytest.mark.parametrize("test_status", [None, SUCCEED])
def test_a_callback_of_another_attempt_is_superseded(attempt: int, test_status: str | None) -> None:
    assert read(NOVITA, job(test_status=test_status), attempt, event()) is Verdict.SUPERSEDED


def test_a_callback_for_a_job_that_waits_to_be_sent_is_superseded() -> None:
    assert read(NOVITA, job(Status.QUEUED, provider_task_id=None), 1, event()) is Verdict.SUPERSEDED


def test_a_callback_before_the_submits_answer_waits() -> None:
    assert isinstance(read(NOVITA, job(Status.SUBMITTING, **IN_FLIGHT), 1, event()), Park)
    assert isinstance(read(NOVITA, job(Status.SUBMITTING, test_status=SUCCEED, **IN_FLIGHT), 1, event()), Park)


def test_a_callback_after_an_unclear_submit_names_a_candidate() -> None:
    reading = read(NOVITA, job(Status.SUBMITTING, **UNCLEAR), 1, event(task_id="task-9"))
    assert isinstance(reading, AskAbout)
    assert (reading.task_id, reading.adopt) == ("task-9", True)


@pytest.mark.parametrize("status", [SUCCEED, FAILED, "TASK_STATUS_PROCESSING", "whatever comes next"])
def test_what_a_callback_says_about_our_task_is_a_question_to_the_provider(status: str) -> None:
    reading = read(NOVITA, job(), 1, event(status))
    assert isinstance(reading, AskAbout)
    assert (reading.task_id, reading.adopt) == ("task-1", False)


@pytest.mark.parametrize(
    ("body", "verdict"),
    [
        (event(task_id="task-2"), Verdict.FOREIGN),
        (event(task_id=None), Verdict.MALFORMED),
        (event(event_type="ASYNC_TASK_MOVED"), Verdict.UNKNOWN_EVENT),
        (b'{"event_type": "ASYNC_TASK_RESULT"}', Verdict.MALFORMED),
        (b"", Verdict.MALFORMED),
        (b"\x00", Verdict.MALFORMED),
        (b"[" * 100_000, Verdict.MALFORMED),
        (b'{"event_type": 1}', Verdict.MALFORMED),
    ],
)
def test_what_can_not_be_asked_about_has_a_verdict_of_its_own(body: bytes, verdict: Verdict) -> None:
    assert read(NOVITA, job(), 1, body) is verdict


def test_a_test_job_believes_a_mock_that_says_how_it_ended() -> None:
    assert isinstance(read(NOVITA, job(test_status=SUCCEED), 1, event()), Believe)
    assert read(NOVITA, job(test_status=SUCCEED), 1, event("TASK_STATUS_PROCESSING")) is Verdict.MALFORMED


_ERROR = JobError(ErrorCode.PROVIDER_FAILED, "it failed", "do something")
OUTCOMES = [
    Succeeded(SUCCEED, ()),
    Succeeded(SUCCEED, (Source(0, "image", "https://images.example/1.png"),)),
    Failed(FAILED, _ERROR),
    StillRunning("TASK_STATUS_PROCESSING"),
]


@pytest.mark.parametrize("claimed", OUTCOMES)
@pytest.mark.parametrize("found", [*OUTCOMES, TaskNotFound()])
def test_a_callback_is_confirmed_only_by_a_read_back_that_says_the_same(claimed: Any, found: Any) -> None:
    verdict = compare(CallbackHint(True, "task-1", claimed), found)
    assert verdict is (Verdict.CONFIRMED if type(claimed) is type(found) else Verdict.CONTRADICTED)
