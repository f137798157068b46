"""Seedream's refusals: which of them prove that nothing is owed."""

from __future__ import annotations

from typing import Any

import pytest

from service.jobs.errors import ErrorCode
from service.providers.contract import NotRun, Rejected, Unclear
from service.providers.novita.errors import REASONS
from service.providers.novita.seedream.ark import CODES

from .seedream_answers import BASE64, BOTH, SENSITIVE, URL, ark, read

# --- Ark's errors ---------------------------------------------------------------------------------------------------

DOCUMENTED = {
    400: (
        "InvalidParameter MissingParameter InvalidImageURL InputTextSensitiveContentDetected "
        "InputImageSensitiveContentDetected OutputImageSensitiveContentDetected PolicyViolation "
        "InvalidImageURL.InvalidFormat InputImageSensitiveContentDetected.PrivacyInformation"
    ),
    401: "AuthenticationError",
    403: "AccessDenied AccountOverdueError",
    404: "ModelNotOpen InvalidEndpointOrModel.NotFound",
    429: (
        "RateLimitExceeded QuotaExceeded ServerOverloaded RateLimitExceeded.EndpointRPMExceeded "
        "ModelAccountIpmRateLimitExceeded RequestBurstTooFast"
    ),
    500: "InternalServiceError",
}
ROWS = [(status, code) for status, codes in DOCUMENTED.items() for code in codes.split()]


@pytest.mark.parametrize("operation", BOTH)
@pytest.mark.parametrize("under", ["its own status", 200])
@pytest.mark.parametrize(("status", "code"), ROWS)
def test_code_of_ark_ends_the_same_under_its_own_status_and_under_200(
    operation: str, under: Any, status: int, code: str
) -> None:
    came = under if isinstance(under, int) else status
    outcome = read(came, ark(code), operation)
    if status == 500:
        assert outcome == Unclear(f"HTTP {came} {code}")
    elif status == 429:
        assert isinstance(outcome, NotRun)
    else:
        assert isinstance(outcome, Rejected)
        assert outcome.error.code is ErrorCode.PROVIDER_REJECTED
        assert outcome.error.hint == CODES[code.split(".", maxsplit=1)[0]].hint
        assert outcome.error.provider is not None
        assert (outcome.error.provider.status, outcome.error.provider.code) == (came, code)


HINTS = [
    ("InputTextSensitiveContentDetected", "the prompt"),
    ("InputImageSensitiveContentDetected", "a reference image"),
    ("OutputImageSensitiveContentDetected", "what it drew"),
    ("PolicyViolation", "content policy"),
    ("InvalidImageURL", "data URI"),
    ("AuthenticationError", "ask Novita"),
    ("AccountOverdueError", "ask Novita"),
]


@pytest.mark.parametrize(("code", "words"), HINTS)
def test_hint_says_what_to_change_or_who_must_act(code: str, words: str) -> None:
    outcome = read(400, ark(code))
    assert isinstance(outcome, Rejected)
    assert words in outcome.error.hint


@pytest.mark.parametrize("status", [200, 400, 422])
def test_code_that_nobody_knows_yet_is_a_refusal(status: int) -> None:
    outcome = read(status, ark("SomethingNew"))
    assert isinstance(outcome, Rejected)
    assert outcome.error.hint


@pytest.mark.parametrize(
    "code", ["InternalError", "InternalServiceError.Busy", "ModelTimeout", "RequestTimeOut", "ServiceUnavailable"]
)
@pytest.mark.parametrize("place", [lambda e: {"error": e}, lambda e: {"data": [{"error": e}]}])
def test_code_that_is_a_5xx_by_its_name_is_unclear_under_200(code: str, place: Any) -> None:
    assert isinstance(read(200, place({"code": code, "message": "x"})), Unclear)
    assert isinstance(read(200, place({"code": f"SomethingNew.{code}", "message": "x"})), Rejected)
    assert isinstance(read(200, place({"code": "QuotaExceeded", "message": "x"})), NotRun)


@pytest.mark.parametrize(
    ("status", "code"), [(400, "RateLimitExceeded"), (403, "QuotaExceeded"), (429, "SomethingNew")]
)
def test_too_much_is_tried_again_under_any_refusing_status(status: int, code: str) -> None:
    outcome = read(status, ark(code), retry_after="7")
    assert isinstance(outcome, NotRun)
    assert outcome.retry_after == 7.0


@pytest.mark.parametrize("status", [100, 301, 408, 500, 502, 503, 504, 599])
@pytest.mark.parametrize("code", ["InvalidParameter", "RateLimitExceeded", "InternalServiceError", "SomethingNew"])
def test_status_that_proves_nothing_is_unclear_whatever_ark_says(status: int, code: str) -> None:
    assert isinstance(read(status, ark(code)), Unclear)


@pytest.mark.parametrize(
    "error", ["sensitive", 5, [], {}, {"code": 403, "message": "Forbidden"}, {"message": "Forbidden"}, {"code": " "}]
)
@pytest.mark.parametrize("status", [200, 400, 403])
def test_error_that_is_not_arks_proves_nothing(status: int, error: Any) -> None:
    assert isinstance(read(status, {"error": error}), Unclear)


def test_words_of_ark_are_capped_and_carry_no_secrets() -> None:
    words = "can't fetch https://images.example/a.png?token=secret with sk_abcdefgh123 \0\ud800\n" + "x" * 10**6
    outcome = read(400, ark("InvalidImageURL", words))
    assert isinstance(outcome, Rejected)
    assert outcome.error.provider is not None
    assert len(outcome.error.provider.message or "") == 500
    assert "secret" not in repr(outcome)
    assert "abcdefgh" not in repr(outcome)


def test_unknown_code_is_never_quoted_in_what_is_logged() -> None:
    assert read(500, ark("https://relay.example/to-ken")) == Unclear("HTTP 500")


def test_refusal_without_words_is_named_by_its_code() -> None:
    for message in (None, "", 5, {"text": "x"}):
        outcome = read(400, ark("InvalidParameter", message))
        assert isinstance(outcome, Rejected)
        assert outcome.error.message == "Seedream refused the request: InvalidParameter"


def test_image_that_came_inline_and_a_signed_url_are_not_in_the_repr() -> None:
    shown = repr(read(200, {"images": [URL, BASE64]}))
    assert "Signature" not in shown
    assert "JFIF" not in shown


# --- Novita's own errors --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", BOTH)
@pytest.mark.parametrize("reason", REASONS)
def test_novitas_envelope_ends_as_for_every_other_operation(operation: str, reason: str) -> None:
    status = REASONS[reason].status
    envelope = {"code": status, "reason": reason, "message": "some words", "metadata": {}}
    for came in (status, 200):
        outcome = read(came, envelope, operation)
        wanted = Unclear if status >= 500 else NotRun if status == 429 else Rejected
        assert isinstance(outcome, wanted)
        if isinstance(outcome, Rejected):
            assert outcome.error.provider is not None
            assert outcome.error.provider.code == reason
            # What follows names the operation's own setting.
            assert outcome.error.hint.startswith(REASONS[reason].hint.split(" Should ", 1)[0])


@pytest.mark.parametrize("reason", REASONS)
def test_hint_of_novitas_envelope_names_no_limit_that_is_not_seedreams(reason: str) -> None:
    hint = REASONS[reason].hint
    assert not any(words in hint for words in ("WEBP", "megapixel", "2048"))


def test_novitas_envelope_beside_an_empty_list_is_a_refusal() -> None:
    body = {"code": 400, "reason": "ILLEGAL_PROMPT", "message": "some words", "images": []}
    assert isinstance(read(200, body), Rejected)


def test_arks_code_inside_novitas_envelope_says_more() -> None:
    outcome = read(400, {"code": 400, "reason": "INVALID_REQUEST_BODY", "message": "x", "error": SENSITIVE})
    assert isinstance(outcome, Rejected)
    assert outcome.error.hint == CODES["OutputImageSensitiveContentDetected"].hint


@pytest.mark.parametrize(("status", "body"), [(404, b"404 page not found"), (410, b"")])
def test_retired_endpoint_is_a_refusal(status: int, body: bytes) -> None:
    outcome = read(status, body)
    assert isinstance(outcome, Rejected)
    assert "no longer serves" in outcome.error.hint


OPEN = [
    (200, b""),
    (200, b"ok"),
    (200, b"\xff\xd8\xff"),
    (200, b'{"images": ["https://images.example/1.p'),
    (200, []),
    (200, [URL]),
    (200, {}),
    (200, {"images": "no image today"}),
    (200, {"images": ""}),
    (200, {"images": {}}),
    (200, {"images": 5}),
    (200, {"data": {}}),
    (200, {"task_id": "73fab7c0-e24f-4027-9df0-81ff8ce4bc1f"}),
    (200, {"code": 0, "msg": "", "data": {"task_id": "73fab7c0-e24f-4027-9df0-81ff8ce4bc1f"}}),
    (202, {"message": "accepted"}),
    (204, b""),
    (301, {"images": [URL]}),
    (400, b"<html>400 Bad Request</html>"),
    (413, b"<html>413</html>"),
    (500, {"images": [URL]}),
    (502, b""),
]


@pytest.mark.parametrize(("status", "body"), OPEN)
def test_answer_that_proves_nothing_is_unclear(status: int, body: Any) -> None:
    outcome = read(status, body)
    assert isinstance(outcome, Unclear)
    assert outcome.reason.startswith(f"HTTP {status}")
