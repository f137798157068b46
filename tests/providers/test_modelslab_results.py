"""ModelsLab's tasks: their state, out of look-ups and out of callbacks."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.providers.contract import (
    CallbackHint,
    CallbackUnreadable,
    Failed,
    LookUpUnavailable,
    ReadBack,
    Source,
    StillRunning,
    Succeeded,
    TaskNotFound,
)
from service.providers.modelslab import PROVIDER

from .arbitrary import QUICK, texts
from .modelslab_answers import FETCH, TASK, URL, call_back, look_up, outcome

STATES = [
    ("success", Succeeded),
    ("ready", Succeeded),
    ("SUCCESS", Succeeded),
    ("failed", Failed),
    ("processing", StillRunning),
    ("queued", StillRunning),
    ("something new", StillRunning),
]


@pytest.mark.parametrize(("status", "expected"), STATES)
def test_status_means_the_same_looked_up_and_called_back(status: str, expected: type) -> None:
    body = {"status": status, "id": int(TASK), "output": [URL], "message": "some words"}
    looked_up = outcome(body)
    assert type(looked_up) is expected
    assert call_back(body) == CallbackHint(True, TASK, looked_up)  # type: ignore[arg-type]


def test_success_tells_its_sources() -> None:
    body = {"status": "success", "id": int(TASK), "output": [URL], "future_links": [URL + "-later"]}
    assert outcome(body) == Succeeded("success", (Source(0, "image", URL),))


@pytest.mark.parametrize("output", [[], "", None])
def test_success_without_outputs_has_none(output: Any) -> None:
    assert outcome({"status": "success", "output": output}) == Succeeded("success", ())
    assert outcome({"status": "success", "output": output, "proxy_links": [URL]}) == Succeeded(
        "success", (Source(0, "image", URL),)
    )


@pytest.mark.parametrize(
    "body",
    [
        {"status": "processing", "messege": "Request processing"},
        {"status": "processing", "message": "Try to fetch request after seconds estimated", "eta": 0.25, "output": []},
        {"status": "processing", "id": "", "output": ""},
    ],
)
def test_processing_is_still_running(body: Any) -> None:
    assert outcome(body) == StillRunning("processing")


def test_request_processing_without_a_status_is_still_running() -> None:
    assert outcome({"messege": "Request processing"}) == StillRunning(None)


def test_unknown_status_is_kept_short_and_clean() -> None:
    state = outcome({"status": "x\0" + "y" * 1000})
    assert isinstance(state, StillRunning)
    assert state.provider_status == "x\ufffd" + "y" * 97 + "…"


@pytest.mark.parametrize("status", ["failed", "error"])
def test_failure_tells_the_reason_and_what_to_do(status: str) -> None:
    state = outcome(
        {"status": status, "id": "", "message": "Processing failed: Invalid input dimensions", "output": ""}
    )
    assert isinstance(state, Failed)
    told = state.error.as_json()
    assert told["code"] == "provider_failed"
    assert told["message"] == "ModelsLab reports that the task failed: Processing failed: Invalid input dimensions"
    assert "may charge" in told["hint"]
    assert (told["provider"]["code"], told["provider"]["message"]) == (
        status,
        "Processing failed: Invalid input dimensions",
    )


def test_failure_for_a_known_reason_has_its_hint() -> None:
    state = outcome({"status": "failed", "message": "Unable to fetch image from provided URL"})
    assert isinstance(state, Failed)
    assert "links to images" in state.error.hint


@pytest.mark.parametrize("message", ["", None, {}, 5])
def test_failure_without_reason_says_so(message: Any) -> None:
    state = outcome({"status": "failed", "message": message})
    assert isinstance(state, Failed)
    assert state.error.message == "ModelsLab reports that the task failed, without a reason."


@pytest.mark.parametrize("status", [200, 400, 422])
@pytest.mark.parametrize("words", ["Invalid input dimensions", "Something went wrong", "", None])
def test_error_in_unknown_words_ends_a_task_only_if_it_names_it(status: int, words: Any) -> None:
    body = {"status": "error", "message": words}
    for more in ({}, {"id": ""}, {"id": None}, {"request_id": TASK}, {"fetch_result": FETCH}):
        assert outcome({**body, **more}, status) == LookUpUnavailable(f"HTTP {status} error")
    assert isinstance(outcome({**body, "id": int(TASK)}, status), Failed)


@pytest.mark.parametrize("status", [200, 400, 422])
def test_failed_needs_no_id_to_end_a_task(status: int) -> None:
    assert isinstance(outcome({"status": "failed", "message": "Something went wrong"}, status), Failed)


NO_RESULT_YET = [
    "Request is still processing",
    "Request processing",
    "Your request is in queue",
    "Image not ready",
    "No result yet",
    "In progress",
    "Please wait",
    "Your image is processing, fetch the image later",
]


@pytest.mark.parametrize("words", NO_RESULT_YET)
@pytest.mark.parametrize("name", ["message", "messege"])
@pytest.mark.parametrize("more", [{}, {"id": ""}, {"id": int(TASK)}])
@pytest.mark.parametrize("status", [200, 400, 404])
def test_error_without_a_result_yet_is_still_running(status: int, more: Any, name: str, words: str) -> None:
    assert outcome({"status": "error", name: words, **more}, status) == StillRunning("error")


ABOUT_US = [
    "Invalid API key",
    "Insufficient credits. Please add more credits to continue.",
    "This feature requires a premium subscription",
    "Rate limit exceeded",
    "Internal server error. Please try again.",
    "Request timed out",
    "The model is loading",
]


@pytest.mark.parametrize("words", ABOUT_US)
def test_failed_for_our_account_or_their_trouble_counts_only_with_the_tasks_id(words: str) -> None:
    body = {"status": "failed", "message": words, "output": ""}
    assert outcome({**body, "id": ""}) == LookUpUnavailable("HTTP 200 error")
    assert isinstance(outcome({**body, "id": int(TASK)}), Failed)


def test_failed_try_again_is_a_failure_and_not_trouble() -> None:
    assert isinstance(outcome({"status": "failed", "id": "", "message": "Failed, Try Again", "output": ""}), Failed)


# --- Which task, and whose ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task_id", [5, "5", TASK + "0", TASK + " ", [TASK], {}, True, 1.5])
@pytest.mark.parametrize("status", ["success", "failed", "error", "processing"])
def test_answer_about_another_task_says_nothing(status: str, task_id: Any) -> None:
    body = {"status": status, "id": task_id, "output": [URL], "meta": {"webhook": "https://relay.example/token"}}
    assert look_up(body) == ReadBack(LookUpUnavailable("the answer is about another task"), None)


@pytest.mark.parametrize("task_id", [None, "", TASK, int(TASK)])
def test_id_compares_as_text_and_may_be_missing(task_id: Any) -> None:
    assert outcome({"status": "success", "id": task_id}) == Succeeded("success", ())
    assert outcome({"status": "success"}) == Succeeded("success", ())


@pytest.mark.parametrize(
    ("meta", "echoed"),
    [
        ({"webhook": "https://relay.example/token"}, "https://relay.example/token"),
        ({"webhook": "https://relay.example/tökén"}, None),
        ({"webhook": None}, None),
        ({"webhook": ""}, None),
        ({"webhook": {"url": "https://relay.example/token"}}, None),
        ({}, None),
        ([], None),
        (None, None),
    ],
)
def test_callback_url_is_passed_on_when_meta_repeats_it(meta: Any, echoed: str | None) -> None:
    read = look_up({"status": "success", "id": TASK, "meta": meta})
    assert read.callback_url == echoed
    assert "token" not in repr(read)


@pytest.mark.parametrize("task_id", [5, "5", TASK])
def test_id_that_meta_repeats_is_not_the_tasks(task_id: Any) -> None:
    body = {
        "status": "success",
        "output": [URL],
        "meta": {"id": task_id, "W": "512", "seed": 1, "track_id": "order-42"},
    }
    assert outcome(body) == Succeeded("success", (Source(0, "image", URL),))
    assert outcome({**body, "id": int(TASK)}) == Succeeded("success", (Source(0, "image", URL),))
    assert call_back(body).task_id is None


# --- Trouble --------------------------------------------------------------------------------------------------------

NOTHING_SAID = [
    (200, b"", "HTTP 200 without a status"),
    (200, b"<html></html>", "HTTP 200 without a status"),
    (200, [], "HTTP 200 without a status"),
    (200, {}, "HTTP 200 without a status"),
    (200, {"status": None, "output": [URL]}, "HTTP 200 without a status"),
    (200, {"status": 5}, "HTTP 200 without a status"),
    (200, {"status": "error", "message": "Invalid Api Key"}, "HTTP 200 error"),
    (
        200,
        {"status": "error", "message": "Insufficient credits. Please add more credits to continue."},
        "HTTP 200 error",
    ),
    (200, {"status": "error", "messege": "Rate limit exceeded"}, "HTTP 200 error"),
    (200, {"status": "error", "message": "Try again"}, "HTTP 200 error"),
    (200, {"status": "error", "message": "Service temporarily unavailable."}, "HTTP 200 error"),
    (200, {"status": "error", "message": {"request_id": ["The request id field is required."]}}, "HTTP 200 error"),
    (301, {"status": "success", "output": [URL]}, "HTTP 301"),
    (400, b"<html></html>", "HTTP 400"),
    (400, {"status": "success", "output": [URL]}, "HTTP 400"),
    (401, {"status": "error", "message": "Invalid API key"}, "HTTP 401 error"),
    (402, {"status": "error", "message": "words"}, "HTTP 402 error"),
    (403, {"status": "error", "message": "words"}, "HTTP 403 error"),
    (404, b"", "HTTP 404"),
    (404, b"<html>404 page not found</html>", "HTTP 404"),
    (404, {"message": "Not Found"}, "HTTP 404"),
    (404, {"status": "error", "message": "The requested endpoint does not exist."}, "HTTP 404 error"),
    (405, {"status": "error", "message": "words"}, "HTTP 405 error"),
    (410, b"", "HTTP 410"),
    (429, b"slow down", "HTTP 429"),
    (500, {"status": "error", "message": "Request not found"}, "HTTP 500 error"),
    (500, {"status": "failed", "message": "words"}, "HTTP 500 error"),
    (500, {"status": "success", "output": [URL]}, "HTTP 500"),
    (504, b"", "HTTP 504"),
]


@pytest.mark.parametrize(("status", "body", "reason"), NOTHING_SAID)
def test_answer_that_says_nothing_about_the_task_is_asked_for_again(status: int, body: Any, reason: str) -> None:
    assert look_up(body, status) == ReadBack(LookUpUnavailable(reason))


def test_busy_look_up_says_how_long_to_wait() -> None:
    body = {"status": "error", "message": "Rate limit exceeded. Maximum 5 queued requests allowed.", "retry_after": 30}
    assert outcome(body, 429) == LookUpUnavailable("HTTP 429 error", 30.0)
    assert look_up(b"", 429, retry_after="12") == ReadBack(LookUpUnavailable("HTTP 429", 12.0))
    assert outcome({**body, "retry_after": 10**9}, 200) == LookUpUnavailable("HTTP 200 error", 3600.0)


@pytest.mark.parametrize(
    "words",
    [
        "Request not found",
        "Request id not found",
        "Invalid request id",
        "Invalid request_id",
        "invalid id",
        "Task does not exist",
        "This request doesn't exist",
        "No such task",
        "No record found",
        "The job has expired",
    ],
)
@pytest.mark.parametrize("status", [200, 400, 404])
def test_unknown_task_is_not_found(status: int, words: str) -> None:
    assert look_up({"status": "error", "message": words}, status) == ReadBack(TaskNotFound())


def test_a_404_in_modelslabs_own_envelope_is_an_unknown_task() -> None:
    assert outcome({"status": "error", "message": "words"}, 404) == TaskNotFound()
    assert outcome({"status": "error"}, 404) == TaskNotFound()


@pytest.mark.parametrize(
    "words", ["Model not found: x", "Processing failed: Invalid input dimensions", "prompt is required"]
)
def test_other_error_is_a_failure(words: str) -> None:
    assert isinstance(outcome({"status": "error", "message": words}), Failed)


# --- Callbacks ------------------------------------------------------------------------------------------------------

UNREADABLE = {
    "empty": b"",
    "text": b"hello",
    "not utf-8": b'{"status": "\xff"}',
    "array": b"[]",
    "null": b"null",
    "number": b"5",
    "deep array": b"[" * 200_000,
    "NaN": b'{"status": "success", "generationTime": NaN}',
    "huge float": b'{"status": "success", "generationTime": 1e999}',
    "huge integer": b'{"status": "success", "id": ' + b"9" * 10_000 + b"}",
    "cut off": b'{"status": "success", "out',
}


@pytest.mark.parametrize("body", UNREADABLE.values(), ids=UNREADABLE)
def test_body_that_is_no_object_is_unreadable(body: bytes) -> None:
    with pytest.raises(CallbackUnreadable) as caught:
        PROVIDER.read_callback(body)
    assert 0 < len(str(caught.value)) < 60


@QUICK
@given(
    status=texts, message=texts, task_id=st.integers() | texts | st.none(), http=st.sampled_from([200, 400, 404, 429])
)
def test_any_words_read_as_some_outcome(status: str, message: str, task_id: Any, http: int) -> None:
    body = {"status": status, "message": message, "id": task_id}
    assert isinstance(look_up(body, http), ReadBack)
    assert isinstance(call_back(body), CallbackHint)
