"""ModelsLab's answers to a submit that name no task: which prove that nothing runs, and which leave it open."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.jobs.errors import ErrorCode
from service.providers.contract import (
    Accepted,
    NotRun,
    Rejected,
    Unclear,
)

from .arbitrary import QUICK, json_values, texts
from .modelslab_bodies import read_answer as read

URL = "https://pub-3626123a908346a7a8be8d9295f44e26.r2.dev/generations/a-0.png"


# --- Refused --------------------------------------------------------------------------------------------------------

KEY, CREDITS, PLAN = "check its ModelsLab API key", "add credits", "upgrade"
MODEL, PROMPT, LINKS = "check `model_id`", "Give a `prompt`", "links to images"
CORRECT, LATER = "Correct the input", "retry the job later"

DOCUMENTED = [
    (400, "prompt is required", PROMPT),
    (400, "Model not found: no-such-model", MODEL),
    (400, "Unable to fetch image from provided URL", LINKS),
    (401, "Invalid API key", KEY),
    (402, "Insufficient credits. Please add more credits to continue.", CREDITS),
    (403, "This feature requires a premium subscription", PLAN),
]
RECORDED = [
    (200, "Invalid Api Key", KEY),
    (200, "Model id not found", MODEL),
    (200, "Failed to load image", LINKS),
    (200, "Try again", LATER),
    (200, "The model is loading, please wait", LATER),
    (200, "Server is warming up", LATER),
    (200, "Something else", CORRECT),
    (400, "Request not found", CORRECT),
    (401, "Nobody knows you", KEY),
    (402, "", CREDITS),
    (403, "No", PLAN),
    (422, "width: The width must be divisible by 8.", CORRECT),
]


@pytest.mark.parametrize(("status", "words", "hint"), DOCUMENTED + RECORDED)
@pytest.mark.parametrize("name", ["message", "messege"])
def test_error_without_an_id_is_a_refusal_with_a_hint(name: str, status: int, words: str, hint: str) -> None:
    outcome = read(status, {"status": "error", name: words})
    assert isinstance(outcome, Rejected)
    told = outcome.error.as_json()
    assert told["code"] == "provider_rejected"
    assert told["message"] == f"ModelsLab refused the request: {words or f'HTTP {status}, without a reason'}"
    assert hint in told["hint"]
    assert told["provider"] == {"status": status, "code": "error", "message": words or None}


@pytest.mark.parametrize(("status", "words", "hint"), DOCUMENTED)
def test_documented_refusal_under_http_200_is_the_same_refusal(status: int, words: str, hint: str) -> None:
    outcome = read(200, {"status": "error", "message": words})
    assert isinstance(outcome, Rejected)
    assert hint in outcome.error.hint


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ({"prompt": ["The prompt field is required."]}, "prompt: The prompt field is required."),
        ({"prompt": ["One.", "Two."], "width": "Three."}, "prompt: One. Two.; width: Three."),
        (["One.", "Two."], "One. Two."),
        ({"prompt": {"deep": 1}}, None),
        ({}, None),
        (5, None),
        (None, None),
        ("  ", None),
    ],
)
@pytest.mark.parametrize("name", ["message", "messege"])
def test_message_of_any_type_is_told_as_words(name: str, message: Any, words: str | None) -> None:
    outcome = read(200, {"status": "error", name: message})
    assert isinstance(outcome, Rejected)
    assert outcome.error.provider is not None
    assert outcome.error.provider.message == words


def test_either_spelling_of_message_counts_when_the_other_is_empty() -> None:
    outcome = read(200, {"status": "error", "message": "", "messege": "Invalid Api Key"})
    assert isinstance(outcome, Rejected)
    assert KEY in outcome.error.hint


def test_failed_without_an_id_ends_the_job_as_failed() -> None:
    body = {"status": "failed", "id": "", "message": "Failed, Try Again", "output": ""}
    outcome = read(200, body)
    assert isinstance(outcome, Rejected)
    assert outcome.error.code is ErrorCode.PROVIDER_FAILED
    assert outcome.error.message == "ModelsLab reports that the task failed: Failed, Try Again"
    assert "may charge" in outcome.error.hint


@pytest.mark.parametrize("status", [404, 410])
@pytest.mark.parametrize("body", [b"", b"<html>404</html>", {}, {"status": "error"}])
def test_missing_endpoint_is_named_with_the_setting_that_moves_it(status: int, body: Any) -> None:
    outcome = read(status, body, operation="text2img")
    assert isinstance(outcome, Rejected)
    assert "does not know this endpoint" in outcome.error.message
    assert "GENRELAY_PROVIDERS__MODELSLAB__OPERATIONS__TEXT2IMG__PATH" in outcome.error.hint


def test_routers_own_words_about_a_missing_endpoint_are_told() -> None:
    outcome = read(404, {"message": "Not Found"})
    assert isinstance(outcome, Rejected)
    assert outcome.error.message == "ModelsLab refused the request: Not Found"


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (404, "The requested endpoint does not exist."),
        (410, "words"),
        (404, "Request not found"),
        (200, "This endpoint is no longer available"),
    ],
)
def test_missing_endpoint_in_modelslabs_own_words_is_the_same(status: int, words: str) -> None:
    outcome = read(status, {"status": "error", "message": words})
    assert isinstance(outcome, Rejected)
    assert outcome.error.message == f"ModelsLab refused the request: {words}"
    assert "GENRELAY_PROVIDERS__MODELSLAB__OPERATIONS__INPAINT__PATH" in outcome.error.hint


def test_a_404_in_modelslabs_own_words_is_about_the_request() -> None:
    outcome = read(404, {"status": "error", "message": "Model not found: no-such-model"})
    assert isinstance(outcome, Rejected)
    assert MODEL in outcome.error.hint


# --- Too fast -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (429, {"status": "error", "message": "Rate limit exceeded. Maximum 5 queued requests allowed."}),
        (429, {"message": "Too Many Attempts."}),
        (429, b"<html>slow down</html>"),
        (429, {"status": "processing", "id": 5}),
        (200, {"status": "error", "message": "Rate limit exceeded"}),
        (400, {"status": "error", "message": "Rate limit exceeded"}),
        (200, {"status": "error", "messege": "Too many requests"}),
        (200, {"status": "error", "message": "rate_limit"}),
        (200, {"status": "error", "message": "  Slow down!"}),
        (200, {"status": "failed", "id": "", "message": "Maximum 5 queued requests allowed."}),
        (200, {"status": "error", "message": "Maximum 15 queued requests allowed."}),
    ],
)
def test_rate_limit_is_proven_not_to_have_run(status: int, body: Any) -> None:
    assert read(status, body) == NotRun(f"HTTP {status} rate limit")


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (403, {"key": ["Rate limit exceeded"]}),
        (200, {"model_id": ["Rate limit exceeded"]}),
        (200, "Failed: prompt 'slow down' refused"),
        (200, "The model_id my-rate-limit-lora is not yours"),
    ],
)
@pytest.mark.parametrize("said", ["error", "failed"])
def test_words_of_a_rate_limit_elsewhere_are_not_believed(said: str, status: int, message: Any) -> None:
    assert isinstance(read(status, {"status": said, "message": message}), Rejected)


@QUICK
@given(
    name=texts | st.sampled_from(["my-rate-limit-lora", ": too many requests", "\nRate limit exceeded", "slow down"]),
    status=st.sampled_from([200, 201, 400, 403, 404, 422]),
    said=st.sampled_from(["error", "failed"]),
    spelled=st.sampled_from(["message", "messege"]),
    task_id=st.sampled_from([None, "", 123]),
)
def test_name_of_a_model_never_makes_us_send_again(
    name: str, status: int, said: str, spelled: str, task_id: Any
) -> None:
    outcome = read(status, {"status": said, "id": task_id, spelled: f"Model not found: {name}"})
    assert isinstance(outcome, Rejected | Accepted)


def test_name_of_a_model_does_not_change_what_is_said_about_it() -> None:
    outcome = read(400, {"status": "error", "message": "Model not found: my-rate-limit-lora"})
    assert isinstance(outcome, Rejected)
    assert MODEL in outcome.error.hint


LIMITED = {"status": "error", "message": "Rate limit exceeded"}


@pytest.mark.parametrize("status", [429, 200])
@pytest.mark.parametrize(
    ("more", "header", "seconds"),
    [
        ({"retry_after": 30}, None, 30.0),
        ({"retry_after": "30"}, None, 30.0),
        ({"retry_after": 0.5}, None, 0.5),
        ({"retry_after": 0}, None, 0.0),
        ({"retry_after": 30}, "7", 30.0),
        ({"retry_after": 10**300}, None, 3600.0),
        ({"retry_after": 3601}, None, 3600.0),
        ({"retry_after": -1}, None, None),
        ({"retry_after": "soon"}, None, None),
        ({"retry_after": True}, None, None),
        ({"retry_after": None}, "7", 7.0),
        ({}, "7", 7.0),
        ({}, "999999", 3600.0),
        ({}, "Wed, 21 Oct 2026 07:28:00 GMT", None),
        ({"tips": "You have hit the limit, wait 30 seconds"}, None, 30.0),
        ({"tip": "please wait for 45s"}, None, 45.0),
        ({"tip_1": "wait 30 seconds"}, None, 30.0),
        ({"message": "Rate limit exceeded, wait 20 seconds"}, None, 20.0),
        ({"message": "", "messege": "Rate limit exceeded, wait 20 seconds"}, None, 20.0),
        ({"tips": ["wait 30 seconds"]}, None, None),
        ({}, None, None),
    ],
)
def test_rate_limit_says_how_long_to_wait(status: int, more: Any, header: str | None, seconds: float | None) -> None:
    headers = {} if header is None else {"retry_after": header}
    assert read(status, {**LIMITED, **more}, **headers) == NotRun(f"HTTP {status} rate limit", seconds)


# --- Nobody knows ---------------------------------------------------------------------------------------------------

OPEN = [
    (200, b"", "HTTP 200 without a task id"),
    (200, b"ok", "HTTP 200 without a task id"),
    (200, [], "HTTP 200 without a task id"),
    (200, {}, "HTTP 200 without a task id"),
    (200, {"status": "processing"}, "HTTP 200 without a task id"),
    (200, {"status": "processing", "output": [URL]}, "HTTP 200 without a task id"),
    (200, {"status": "completed", "output": [URL]}, "HTTP 200 without a task id"),
    (200, {"message": "Invalid API key"}, "HTTP 200 without a task id"),
    (204, b"", "HTTP 204 without a task id"),
    (302, b"", "HTTP 302"),
    (400, b"<html>400 Bad Request</html>", "HTTP 400"),
    (400, {"status": "processing", "id": 5}, "HTTP 400"),
    (403, b"<html>403 Forbidden</html>", "HTTP 403"),
    (403, {"message": "Forbidden"}, "HTTP 403"),
    (408, {"status": "error", "message": "prompt is required"}, "HTTP 408"),
    (413, b"<html>413</html>", "HTTP 413"),
    (500, {"status": "error", "message": "Internal server error. Please try again."}, "HTTP 500"),
    (500, {"status": "error", "message": "Invalid API key"}, "HTTP 500"),
    (500, {"status": "success", "id": 13446970, "output": [URL]}, "HTTP 500"),
    (503, {"status": "error", "message": "Service temporarily unavailable."}, "HTTP 503"),
    (503, {"status": "error", "message": "Rate limit exceeded"}, "HTTP 503"),
    (599, b"\xff", "HTTP 599"),
]


SERVER_ERRORS = [
    "Internal server error. Please try again.",
    "Request timed out",
    "Gateway Timeout",
    "Service temporarily unavailable. Please try again later.",
    "Server error",
    "502 Bad Gateway",
    "Request processing",
    "Your request is in queue",
]


@pytest.mark.parametrize("words", SERVER_ERRORS)
@pytest.mark.parametrize("said", ["error", "failed"])
def test_server_error_in_words_is_as_unclear_as_a_5xx(said: str, words: str) -> None:
    assert read(200, {"status": said, "id": "", "message": words}) == Unclear(
        "HTTP 200 with an error that leaves it open"
    )


@pytest.mark.parametrize("words", ["Scheduler not available", "Image processing failed: bad format", "Still loading"])
def test_other_words_about_what_is_not_there_are_a_refusal(words: str) -> None:
    assert isinstance(read(200, {"status": "error", "message": words}), Rejected)


@pytest.mark.parametrize(("status", "body", "reason"), OPEN)
def test_answer_that_proves_nothing_is_unclear(status: int, body: Any, reason: str) -> None:
    assert read(status, body) == Unclear(reason)


# --- Words ----------------------------------------------------------------------------------------------------------


def test_words_of_a_refusal_are_capped_and_carry_no_secrets() -> None:
    key = "AbCdEfGhIjKlMnOpQrStUvWxYz0123456789"
    words = f"key {key} can't reach https://relay.example/v1/callbacks/modelslab/to-ken?a=b \0\ud800\n" + "x " * 10**6
    outcome = read(400, {"status": "error", "message": words})
    assert isinstance(outcome, Rejected)
    said = outcome.error.provider
    assert said is not None
    assert said.message is not None
    assert len(said.message) == 500
    assert said.message.startswith("key … can't reach https://relay.example/… \ufffd\ufffd x x")


@QUICK
@given(message=json_values(["prompt", "message"]), status=st.sampled_from([200, 400, 401, 404, 429, 500]))
def test_message_of_any_json_is_read(message: Any, status: int) -> None:
    outcome = read(status, {"status": "error", "message": message})
    if isinstance(outcome, Rejected):
        json.dumps(outcome.error.as_json(), ensure_ascii=False).encode()
