"""Novita's answers to a submit: which prove that nothing runs, and which leave it open."""

from __future__ import annotations

import json
from typing import Any

import pytest

from service.jobs.errors import ErrorCode
from service.providers.contract import Accepted, HttpReply, NotRun, Rejected, SubmitOutcome, Unclear
from service.providers.novita import PROVIDER
from service.providers.novita.errors import REASONS, V2_CODES, V2_REFUSALS

TASK = "73fab7c0-e24f-4027-9df0-81ff8ce4bc1f"
# Every documented name under the HTTP status it comes with.
DOCUMENTED = {
    400: (
        "INVALID_REQUEST_BODY IMAGE_FILE_EXCEEDS_MAX_SIZE INVALID_IMAGE_FORMAT IMAGE_EXCEEDS_MAX_RESOLUTION "
        "INVALID_IMAGE_SIZE IMAGE_NO_FACE_DETECTED INVALID_AUDIO_FILE INVALID_CUSTOM_OUTPUT_PATH ILLEGAL_PROMPT "
        "ILLEGAL_IMAGE_CONTENT MISSING_API_KEY BILLING_BALANCE_NOT_ENOUGH"
    ),
    401: "FAILED_TO_AUTH",
    403: (
        "INVALID_API_KEY FEATURE_NOT_ALLOWED API_NOT_ALLOWED NEED_REAL_NAME_VERIFY BILLING_AUTH_FAILED "
        "NOT_ENOUGH_BALANCE ACCESS_DENY ANONYMOUS_ACCESS_QUOTA_EXCEEDS"
    ),
    404: "API_NOT_FOUND TASK_NOT_FOUND MODEL_NOT_FOUND",
    429: "RATE_LIMIT_EXCEEDED TOKEN_LIMIT_EXCEEDED",
    500: "BILLING_FAILED CREATE_TASK_FAILED GET_RESULT_FAILED TASK_FAILED",
    503: "SERVICE_NOT_AVAILABLE",
}
ROWS = [(status, reason) for status, reasons in DOCUMENTED.items() for reason in reasons.split()]


def read(status: int, body: Any, **headers: str) -> SubmitOutcome:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return PROVIDER.read_submit("txt2img", HttpReply(status, {k.replace("_", "-"): v for k, v in headers.items()}, raw))


def say(status: int, reason: str, message: str = "some words") -> dict[str, Any]:
    return {"code": status, "reason": reason, "message": message, "metadata": {}}


def test_every_documented_reason_is_in_the_table_with_its_status() -> None:
    assert {reason: row.status for reason, row in REASONS.items()} == {reason: status for status, reason in ROWS}


@pytest.mark.parametrize(("status", "reason"), ROWS)
def test_documented_error_ends_as_its_status_demands(status: int, reason: str) -> None:
    outcome = read(status, say(status, reason))
    if status >= 500:
        assert outcome == Unclear(f"HTTP {status} {reason}")
    elif status == 429:
        assert outcome == NotRun(f"HTTP 429 {reason}")
    else:
        assert isinstance(outcome, Rejected)
        assert outcome.error.hint.startswith(REASONS[reason].hint)
        assert outcome.error.as_json() | {"hint": ""} == {
            "code": "provider_rejected",
            "message": "Novita refused the request: some words",
            "hint": "",
            "provider": {"status": status, "code": reason, "message": "some words"},
        }


ACCEPTED = [
    (200, {"task_id": TASK}, TASK),
    (201, {"task_id": TASK}, TASK),
    (200, {"code": 0, "msg": "", "data": {"task_id": TASK}}, TASK),
    (200, {"code": 200, "message": "ok", "data": {"task_id": TASK}}, TASK),
    (200, {"data": {"task_id": TASK}}, TASK),
    (200, {"code": 0, "msg": "", "warn": "V2 is deprecated", "data": {"task_id": TASK}}, TASK),
    (200, {"task_id": TASK, "data": {"task_id": "other"}}, TASK),
    (200, {"task_id": "", "data": {"task_id": TASK}}, TASK),
    (200, {"task_id": 13446970}, "13446970"),
    (200, {"task_id": "x" * 128}, "x" * 128),
]


@pytest.mark.parametrize(("status", "body", "task_id"), ACCEPTED)
def test_task_id_is_read_from_either_envelope(status: int, body: Any, task_id: str) -> None:
    assert read(status, body) == Accepted(task_id)


@pytest.mark.parametrize(
    "task_id",
    ["", " ", "a b", "a/b", "a?b", "a#b", "a&b", "ä", "a\n", "\0", "x" * 129, None, True, 1.5, [TASK], {}, 2**63],
)
def test_nonsense_is_no_task_id(task_id: Any) -> None:
    assert read(200, {"task_id": task_id}) == Unclear("HTTP 200 without a task id")


@pytest.mark.parametrize("code", [-1, 5, 9, 1234])
def test_v2_code_that_may_have_run_is_unclear(code: int) -> None:
    assert isinstance(read(200, {"code": code, "msg": "some words", "data": {}}), Unclear)


@pytest.mark.parametrize("reason", ["SOMETHING_NEW", "CREATE_TASK_FAILED"])
def test_a_reason_under_http_200_that_may_have_run_is_unclear(reason: str) -> None:
    assert isinstance(read(200, {"reason": reason, "message": "some words"}), Unclear)


@pytest.mark.parametrize("code", sorted(V2_REFUSALS))
def test_v2_code_under_http_200_is_a_refusal_with_a_hint(code: int) -> None:
    outcome = read(200, {"code": code, "msg": "some words", "data": {"task_id": ""}})
    assert isinstance(outcome, Rejected)
    assert outcome.error.hint == V2_CODES[code][1]
    assert outcome.error.provider is not None
    assert (outcome.error.provider.status, outcome.error.provider.code) == (200, V2_CODES[code][0])


# The SDK's codes, and what their hints say; None: the task may run.
V2 = [
    *[(code, None) for code in (-1, 5, 9)],
    (1, "Correct the input"),
    (2, "`model_name`"),
    (3, "does not know this task"),
    (4, "API key"),
    (6, "Correct the input"),
    (7, "top up"),
    (8, "`sampler_name`"),
]


@pytest.mark.parametrize(("code", "words"), V2)
@pytest.mark.parametrize("data", [{"task_id": TASK}, {"task_id": ""}, {}, None])
def test_v2_code_counts_before_a_task_id_beside_it(data: Any, code: int, words: str | None) -> None:
    outcome = read(200, {"code": code, "msg": "some words", "data": data})
    if words is None:
        assert isinstance(outcome, Unclear)
    else:
        assert isinstance(outcome, Rejected)
        assert words in outcome.error.hint


HINTS = [
    ("INVALID_REQUEST_BODY", "Correct the input"),
    ("IMAGE_FILE_EXCEEDS_MAX_SIZE", "smaller image file"),
    ("INVALID_IMAGE_FORMAT", "format"),
    ("IMAGE_EXCEEDS_MAX_RESOLUTION", "fewer pixels"),
    ("INVALID_IMAGE_SIZE", "width and height"),
    ("IMAGE_NO_FACE_DETECTED", "face"),
    ("INVALID_AUDIO_FILE", "audio file"),
    ("INVALID_CUSTOM_OUTPUT_PATH", "storage path"),
    ("ILLEGAL_PROMPT", "content policy refuses this; change the prompt"),
    ("ILLEGAL_IMAGE_CONTENT", "content policy refuses this; change the image"),
    *[
        (reason, "operator of this service must check its Novita API key")
        for reason in ("MISSING_API_KEY", "INVALID_API_KEY", "FAILED_TO_AUTH", "ANONYMOUS_ACCESS_QUOTA_EXCEEDS")
    ],
    *[
        (reason, "operator of this service must top up")
        for reason in ("BILLING_BALANCE_NOT_ENOUGH", "NOT_ENOUGH_BALANCE")
    ],
    *[(reason, "operator must ask Novita") for reason in ("FEATURE_NOT_ALLOWED", "API_NOT_ALLOWED", "ACCESS_DENY")],
    ("NEED_REAL_NAME_VERIFY", "operator of this service must verify its identity"),
    ("BILLING_AUTH_FAILED", "operator of this service must check its billing"),
    ("API_NOT_FOUND", "no longer serves this endpoint"),
    ("TASK_NOT_FOUND", "does not know this task"),
    ("MODEL_NOT_FOUND", "does not know this model"),
]


def test_every_documented_refusal_has_a_hint_of_its_own() -> None:
    refusals = {reason for status, reason in ROWS if status < 500 and status != 429}
    assert {reason for reason, _ in HINTS} == refusals


# A client saw BILLING_BALANCE_NOT_ENOUGH under 403: the name counts, whatever status it comes with.
@pytest.mark.parametrize("status", [400, 401, 403, 404])
@pytest.mark.parametrize(("reason", "words"), HINTS)
def test_hint_says_what_to_change_or_who_must_act_under_any_status(reason: str, words: str, status: int) -> None:
    outcome = read(status, say(status, reason))
    assert isinstance(outcome, Rejected)
    assert words in outcome.error.hint


OPEN = [
    (200, b"", "HTTP 200 without a task id"),
    (200, {"id": TASK}, "HTTP 200 without a task id"),
    (200, {"code": 0, "msg": "", "data": {"id": TASK}}, "HTTP 200 without a task id"),
    (200, b"ok", "HTTP 200 without a task id"),
    (200, [], "HTTP 200 without a task id"),
    (200, {}, "HTTP 200 without a task id"),
    (200, {"code": 0, "msg": "", "data": None}, "HTTP 200 without a task id"),
    (200, {"code": 7}, "HTTP 200 without a task id"),
    (200, {"message": "hello"}, "HTTP 200 without a task id"),
    (200, say(500, "CREATE_TASK_FAILED"), "HTTP 200 CREATE_TASK_FAILED"),
    (200, {"reason": "CREATE_TASK_FAILED"}, "HTTP 200 CREATE_TASK_FAILED"),
    (204, b"", "HTTP 204 without a task id"),
    (301, b"", "HTTP 301"),
    (304, {"task_id": TASK}, "HTTP 304"),
    (400, b"<html>400 Bad Request</html>", "HTTP 400"),
    (403, b"<html>403 Forbidden</html>", "HTTP 403"),
    (403, {"message": "Forbidden"}, "HTTP 403"),
    (403, {"code": 403}, "HTTP 403"),
    (403, {"code": True, "message": "Forbidden"}, "HTTP 403"),
    (403, {"reason": 5, "error": "Forbidden"}, "HTTP 403"),
    (407, b"", "HTTP 407"),
    (408, say(408, "INVALID_REQUEST_BODY"), "HTTP 408 INVALID_REQUEST_BODY"),
    (413, b"<html>413</html>", "HTTP 413"),
    (500, say(400, "INVALID_REQUEST_BODY"), "HTTP 500 INVALID_REQUEST_BODY"),
    (500, {"task_id": TASK}, "HTTP 500"),
    (502, b"", "HTTP 502"),
    (504, b"<html>504 Gateway Time-out</html>", "HTTP 504"),
    (503, say(429, "RATE_LIMIT_EXCEEDED"), "HTTP 503 RATE_LIMIT_EXCEEDED"),
    (599, b"\xff", "HTTP 599"),
]


@pytest.mark.parametrize(("status", "body", "reason"), OPEN)
def test_answer_that_proves_nothing_is_unclear(status: int, body: Any, reason: str) -> None:
    assert read(status, body) == Unclear(reason)


REFUSED = [
    (400, {"code": 400, "reason": "SOMETHING_NEW", "message": "some words"}, "SOMETHING_NEW"),
    (400, {"reason": "SOMETHING_NEW"}, "SOMETHING_NEW"),
    (400, {"code": 400, "message": "some words"}, "400"),
    (402, {"code": 402, "message": ""}, "402"),
    (404, b"404 page not found", None),
    (410, b"", None),
    (200, say(404, "API_NOT_FOUND"), "API_NOT_FOUND"),
]


@pytest.mark.parametrize(("status", "body", "code"), REFUSED)
def test_refusal_in_novitas_words_or_a_missing_endpoint_is_final(status: int, body: Any, code: str | None) -> None:
    outcome = read(status, body)
    assert isinstance(outcome, Rejected)
    assert outcome.error.code is ErrorCode.PROVIDER_REJECTED
    assert outcome.error.hint
    assert outcome.error.provider is not None
    assert (outcome.error.provider.status, outcome.error.provider.code) == (status, code)


GONE = [
    (404, b""),
    (404, b"<html>404 page not found</html>"),
    (404, {"message": "no Route matched with those values"}),
    (410, b"gone"),
    (404, say(404, "API_NOT_FOUND")),
    (400, say(400, "API_NOT_FOUND")),
    (200, say(404, "API_NOT_FOUND")),
    (410, say(410, "X")),
]
VARIABLES = {
    "txt2img": "TXT2IMG",
    "upscale": "UPSCALE",
    "seedream-4.0": "SEEDREAM_4_0",
    "wan2.6-t2v": "WAN2_6_T2V",
}


@pytest.mark.parametrize(("operation", "variable"), VARIABLES.items())
@pytest.mark.parametrize(("status", "body"), GONE)
def test_retired_endpoint_is_told_with_how_to_point_elsewhere(
    status: int, body: Any, operation: str, variable: str
) -> None:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    outcome = PROVIDER.read_submit(operation, HttpReply(status, {}, raw))
    assert isinstance(outcome, Rejected)
    assert outcome.error.code is ErrorCode.PROVIDER_REJECTED
    assert "no longer serves this endpoint" in outcome.error.hint
    assert f"GENRELAY_PROVIDERS__NOVITA__OPERATIONS__{variable}__PATH." in outcome.error.hint


@pytest.mark.parametrize("reason", ["MODEL_NOT_FOUND", "TASK_NOT_FOUND"])
def test_404_about_something_else_is_no_retired_endpoint(reason: str) -> None:
    outcome = read(404, say(404, reason))
    assert isinstance(outcome, Rejected)
    assert "GENRELAY_" not in outcome.error.hint


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("7", 7.0),
        (" 30 ", 30.0),
        ("0", 0.0),
        ("1.5", 1.5),
        ("-1", None),
        ("", None),
        ("soon", None),
        ("1e3", None),
        ("Wed, 21 Oct 2026 07:28:00 GMT", None),
        ("٣", None),
        ("9" * 400, None),
        ("nan", None),
        ("inf", None),
    ],
)
def test_rate_limit_says_how_long_to_wait(said: str, seconds: float | None) -> None:
    assert read(429, b"<html>slow down</html>", retry_after=said) == NotRun("HTTP 429", seconds)
    assert read(400, say(400, "RATE_LIMIT_EXCEEDED"), retry_after=said) == NotRun(
        "HTTP 400 RATE_LIMIT_EXCEEDED", seconds
    )


def test_words_of_a_refusal_are_capped_and_carry_no_secrets() -> None:
    words = (
        "can't reach https://relay.example/v1/callbacks/novita/to-ken?a=b with sk_abcdefgh123 \0\ud800\n" + "x" * 10**6
    )
    outcome = read(400, say(400, "INVALID_REQUEST_BODY", words))
    assert isinstance(outcome, Rejected)
    said = outcome.error.provider
    assert said is not None
    assert said.message is not None
    assert len(said.message) == 500
    assert said.message.startswith("can't reach https://relay.example/… with … \ufffd\ufffd xxx")


def test_unknown_reason_is_never_quoted_in_what_is_logged() -> None:
    assert read(500, say(500, "https://relay.example/to-ken")) == Unclear("HTTP 500")
