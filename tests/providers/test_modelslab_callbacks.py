"""ModelsLab's callbacks: whose they are, and what they claim."""

from __future__ import annotations

from typing import Any

import pytest

from service.providers.contract import (
    CallbackHint,
    Failed,
    Source,
    StillRunning,
    Succeeded,
)

from .modelslab_answers import FETCH, TASK, URL, call_back, outcome

CALLBACK_IDS = [
    ({"id": int(TASK)}, TASK),
    ({"id": TASK}, TASK),
    ({"id": "abc123-def456"}, "abc123-def456"),
    ({"id": None, "request_id": TASK}, TASK),
    ({"id": "", "fetch_result": FETCH}, TASK),
    ({"fetch_result": FETCH}, TASK),
    ({"fetch_result": "https://modelslab.com/api/v6/images/fetch/later"}, None),
    ({"id": 5, "fetch_result": FETCH}, "5"),
    ({"id": None}, None),
    ({"id": ".."}, None),
    ({"id": 1.5}, None),
    ({"track_id": TASK}, None),
    ({}, None),
]


@pytest.mark.parametrize(("said", "task_id"), CALLBACK_IDS)
def test_id_of_a_callback_is_read_from_where_clients_find_it(said: Any, task_id: str | None) -> None:
    assert call_back({"status": "processing", **said}) == CallbackHint(True, task_id, StillRunning("processing"))


@pytest.mark.parametrize("track_id", ["job_01-1", 42, None, {}])
def test_track_id_changes_nothing(track_id: Any) -> None:
    body = {"status": "success", "id": TASK, "output": [URL]}
    assert call_back({**body, "track_id": track_id}) == call_back(body)


@pytest.mark.parametrize("status", ["failed", "error"])
def test_called_back_failure_is_a_failure(status: str) -> None:
    hint = call_back({"status": status, "id": TASK, "message": "words"})
    assert isinstance(hint.state, Failed)
    assert hint.known_event


@pytest.mark.parametrize("status", ["success", "ready"])
@pytest.mark.parametrize("output", [[], "", None])
def test_completed_callback_may_carry_no_url(status: str, output: Any) -> None:
    assert call_back({"status": status, "id": TASK, "output": output}).state == Succeeded(status, ())


@pytest.mark.parametrize("name", ["output", "proxy_links", "links"])
def test_outputs_are_read_from_where_clients_find_them(name: str) -> None:
    body = {"status": "ready", "id": TASK, name: [URL], "future_links": [URL + "-later"]}
    assert call_back(body).state == outcome(body) == Succeeded("ready", (Source(0, "image", URL),))


@pytest.mark.parametrize("status", ["success", "ready", "processing"])
def test_future_links_are_no_outputs(status: str) -> None:
    body = {"status": status, "id": TASK, "output": []}
    assert call_back({**body, "future_links": [URL]}) == call_back(body)
    assert outcome({**body, "future_links": [URL]}) == outcome(body)


WORKFLOW = {
    "event": "workflow.completed",
    "workflow": {"id": "wf_1"},
    "execution": {"id": "exec_1", "status": "completed"},
}


@pytest.mark.parametrize("more", [{}, {"status": "success", "id": TASK, "output": [URL]}])
def test_workflow_payload_is_no_event_of_ours(more: Any) -> None:
    assert call_back({**WORKFLOW, **more}) == CallbackHint(False, None, None)


@pytest.mark.parametrize("body", [{}, {"status": None}, {"status": 5}, {"status": ["success"]}, {"state": "success"}])
def test_body_without_a_status_that_is_text_is_no_known_event(body: Any) -> None:
    assert call_back({**body, "id": TASK, "output": [URL]}) == CallbackHint(False, TASK, None)


def test_empty_status_is_still_running() -> None:
    assert call_back({"status": "", "id": TASK}) == CallbackHint(True, TASK, StillRunning(None))


def test_of_a_duplicate_key_the_last_one_counts() -> None:
    assert call_back(b'{"status": "failed", "status": "processing", "id": 1, "id": 2}') == CallbackHint(
        True, "2", StillRunning("processing")
    )
