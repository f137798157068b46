"""Seedream's answers: images in every shape that was seen, and which refusals prove that nothing is owed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.jobs.errors import ErrorCode
from service.providers import contract
from service.providers.contract import Finished, HttpReply, NotRun, Rejected, Source, SubmitOutcome, Unclear
from service.providers.novita import PROVIDER
from service.providers.novita.errors import REASONS
from service.providers.novita.seedream.ark import CODES

from .arbitrary import QUICK, as_bytes, json_values, swapped
from .bodies import draw_picture, encode
from .test_contract import assert_storable

BOTH = ("seedream-4.0", "seedream-4.5")
URL = "https://images.example/prod/1.jpeg?X-Tos-Expires=86400&X-Tos-Signature=abc"
PICTURE = draw_picture("JPEG", 2048, 16)
BASE64 = encode(PICTURE)
PADDED = PICTURE + b"x" * (-len(PICTURE) % 3 + 1)
SENSITIVE = {"code": "OutputImageSensitiveContentDetected", "message": "output image may contain sensitive information"}
BUSY = {"code": "ServerOverloaded", "message": "too many requests"}


def read(status: int, body: Any, operation: str = "seedream-4.5", **headers: str) -> SubmitOutcome:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return PROVIDER.read_submit(operation, HttpReply(status, {k.replace("_", "-"): v for k, v in headers.items()}, raw))


def by_url(index: int = 0, url: str = URL) -> Source:
    return Source(index, "image", url=url)


def inline(index: int = 0, data: bytes = PICTURE, claimed_type: str | None = None) -> Source:
    return Source(index, "image", inline=data, claimed_type=claimed_type)


ITEMS: list[tuple[str, Any, Source]] = [
    ("a URL", URL, by_url()),
    ("http", "http://images.example/1.png", by_url(url="http://images.example/1.png")),
    ("an object with url", {"url": URL}, by_url()),
    ("an object with image_url", {"image_url": URL}, by_url()),
    ("an object of Ark", {"url": URL, "size": "2048x2048"}, by_url()),
    ("an object with an empty url", {"url": "", "image_url": URL}, by_url()),
    ("an object with both", {"url": URL, "b64_json": BASE64}, by_url()),
    ("an object with null", {"url": None, "b64_json": BASE64}, inline()),
    ("b64_json", {"b64_json": BASE64}, inline()),
    ("b64_json as data URI", {"b64_json": f"data:image/jpeg;base64,{BASE64}"}, inline(claimed_type="image/jpeg")),
    ("url as data URI", {"url": f"data:image/png;base64,{BASE64}"}, inline(claimed_type="image/png")),
    ("a data URI", f"data:image/jpeg;base64,{BASE64}", inline(claimed_type="image/jpeg")),
    ("a data URI in capitals", f"DATA:image/JPEG;BASE64,{BASE64}", inline(claimed_type="image/JPEG")),
    ("a data URI with parameters", f"data:image/png;name=a;base64,{BASE64}", inline(claimed_type="image/png")),
    ("a data URI without type", f"data:;base64,{BASE64}", inline()),
    ("base64", BASE64, inline()),
    ("base64 with line breaks", "\r\n".join((BASE64[:76], BASE64[76:], "")), inline()),
    ("base64 without its padding", encode(PADDED).rstrip("="), inline(data=PADDED)),
    ("base64 amid blanks", f" {BASE64}\n", inline()),
    ("a URL amid blanks", f"\t{URL} \n", by_url()),
    ("a data URI amid blanks", f" data:image/png;base64,{BASE64}\n", inline(claimed_type="image/png")),
    ("a short data URI", "data:image/png;base64,QUJD", inline(data=b"ABC", claimed_type="image/png")),
    ("a URL under another name", {"image": URL, "size": "2048x2048"}, by_url()),
    ("a data URI under another name", {"content": f"data:;base64,{BASE64}"}, inline()),
    ("base64 under another name", {"id": "a1" * 40, "image_base64": BASE64}, inline()),
    ("a known name before another", {"preview": URL + "-small", "b64_json": BASE64}, inline()),
]


@pytest.mark.parametrize("operation", BOTH)
@pytest.mark.parametrize(("item", "source"), [row[1:] for row in ITEMS], ids=[row[0] for row in ITEMS])
def test_image_is_read_in_every_shape_that_was_seen(operation: str, item: Any, source: Source) -> None:
    for body in ({"images": [item]}, {"data": [item]}, {"data": {"images": [item]}}, {"code": 0, "images": [item]}):
        assert read(200, body, operation) == Finished(None, (source,))


UNREADABLE = [
    *[None, True, 5, 1.5, "", " ", [], [URL], {}, {"url": None}, {"url": 5}, {"url": "nowhere"}, {"b64_json": 5}],
    *["ftp://images.example/1.png", "https://", "/prod/1.png", "https://images.example/a b.png", "no image today"],
    *["data:image/png;base64,", "data:image/png,abc", "data:image/png;base64,a-b_", "abc", "äöü=", {"b64_json": ""}],
    *[{"image_url": {"url": [URL]}}, {"error": "sensitive"}, {"error": "sensitive", "help": URL}],
    # Words, ids and digests read as base64 too.
    *["fail", "none", "a" * 63, {"b64_json": "none"}, {"url": "fail"}, {"sha256": "0f" * 32}, {"id": "a1" * 40}],
    # What the customer said is not what was made.
    *[{"revised_prompt": URL}, {"text": URL}],
    "The image could not be made for reasons that this sentence does not say",
]
UNREAD = "HTTP 200 without images that can be read"


@pytest.mark.parametrize("item", UNREADABLE, ids=str)
def test_unreadable_image_is_skipped_beside_others_and_leaves_it_open_alone(item: Any) -> None:
    assert read(200, {"images": [item]}) == Unclear(UNREAD)
    assert read(200, {"data": [item, item]}) == Unclear(UNREAD)
    assert read(200, {"images": [item, URL, item, BASE64]}) == Finished(None, (by_url(0), inline(1)))


@pytest.mark.parametrize("operation", BOTH)
@pytest.mark.parametrize(("item", "source"), [row[1:] for row in ITEMS], ids=[row[0] for row in ITEMS])
def test_lone_image_needs_no_list_around_it(operation: str, item: Any, source: Source) -> None:
    assert read(200, {"images": item}, operation) == Finished(None, (source,))
    assert read(200, {"data": {"images": item}}, operation) == Finished(None, (source,))


def test_lone_error_in_the_place_of_images_is_a_refusal() -> None:
    assert isinstance(read(200, {"images": {"error": SENSITIVE}}), Rejected)


def test_of_a_long_list_only_the_first_64_are_looked_at() -> None:
    urls = [f"https://images.example/{number}.png" for number in range(100)]
    assert read(200, {"images": urls}) == Finished(None, tuple(by_url(n, url) for n, url in enumerate(urls[:64])))
    assert read(200, {"images": [None] * 64 + [URL]}) == Unclear(UNREAD)


def test_images_keep_their_order_and_are_numbered_without_gaps() -> None:
    urls = [f"https://images.example/{number}.png" for number in range(15)]
    outcome = read(200, {"images": urls})
    assert outcome == Finished(None, tuple(by_url(number, url) for number, url in enumerate(urls)))


@pytest.mark.parametrize("body", [{"images": []}, {"images": None}, {"data": []}, {"data": {"images": []}}])
def test_answer_without_images_is_finished_without_outputs(body: Any) -> None:
    assert read(200, body) == Finished(None, ())


def test_image_that_failed_is_left_out() -> None:
    assert read(200, {"data": [{"error": SENSITIVE}, {"url": URL}, {"error": BUSY}]}) == Finished(None, (by_url(),))


@pytest.mark.parametrize("field", ["images", "data"])
def test_images_that_all_failed_are_a_refusal_with_the_reason(field: str) -> None:
    outcome = read(200, {field: [{"error": SENSITIVE}, {"error": {"code": "InvalidParameter", "message": "x"}}]})
    assert isinstance(outcome, Rejected)
    assert outcome.error.as_json() == {
        "code": "provider_rejected",
        "message": "Seedream refused the request: output image may contain sensitive information",
        "hint": CODES["OutputImageSensitiveContentDetected"].hint,
        "provider": {"status": 200, **SENSITIVE},
    }


def test_refusal_for_good_counts_before_one_that_waiting_mends() -> None:
    outcome = read(200, {"data": [{"error": BUSY}, {"error": SENSITIVE}]})
    assert isinstance(outcome, Rejected)
    assert outcome.error.provider is not None
    assert outcome.error.provider.code == SENSITIVE["code"]


def test_images_that_all_wait_for_better_times_are_tried_again() -> None:
    assert read(200, {"data": [{"error": BUSY}, {"error": BUSY}]}, retry_after="3") == NotRun(
        "HTTP 200 ServerOverloaded", 3.0
    )


def test_some_images_that_failed_beside_some_unreadable_leave_it_open() -> None:
    assert read(200, {"data": [{"error": SENSITIVE}, {"url": "nowhere"}]}) == Unclear(UNREAD)


@pytest.mark.parametrize("code", [500, 503])
def test_server_error_beside_an_empty_list_leaves_it_open(code: int) -> None:
    assert read(200, {"code": code, "reason": "SOMETHING_NEW", "message": "x", "images": []}) == Unclear(UNREAD)
    assert read(200, {"code": 0, "msg": "", "images": []}) == Finished(None, ())


def test_images_count_more_than_an_error_beside_them() -> None:
    assert read(200, {"images": [URL], "error": SENSITIVE}) == Finished(None, (by_url(),))
    assert isinstance(read(200, {"images": [], "error": SENSITIVE}), Rejected)
    assert read(200, {"images": [URL], "error": None}) == Finished(None, (by_url(),))


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


def ark(code: Any, message: Any = "some words") -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "param": "", "type": "BadRequest"}}


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


# --- Anything else --------------------------------------------------------------------------------------------------

WHOLE = {
    "images": [URL, {"url": URL}, BASE64[:80], {"b64_json": BASE64[:80]}],
    "data": [{"url": URL}, {"error": SENSITIVE}, {"b64_json": BASE64[:80]}],
    "error": SENSITIVE,
    "code": 400,
    "reason": "ILLEGAL_PROMPT",
}
NAMES = ["images", "data", "error", "code", "message", "reason", "url", "image_url", "b64_json", "task_id"]
ANYTHING = json_values(NAMES) | st.sampled_from([BUSY, SENSITIVE, "data:image/png;base64,QUJD", URL, BASE64[:80]])


@pytest.mark.parametrize("operation", BOTH)
@QUICK
@given(body=st.binary(max_size=200), status=st.integers(100, 999))
def test_random_bytes_are_an_outcome(operation: str, body: bytes, status: int) -> None:
    assert_storable(read(status, body, operation))


@pytest.mark.parametrize("operation", BOTH)
@QUICK
@given(value=ANYTHING | swapped(WHOLE, ANYTHING), status=st.sampled_from([200, 201, 400, 404, 429, 500]))
def test_any_json_is_an_outcome_whose_files_are_no_larger_than_the_answer(
    operation: str, value: Any, status: int
) -> None:
    body = as_bytes(value)
    outcome = read(status, body, operation)
    assert isinstance(outcome, contract.SubmitOutcome.__args__)
    assert_storable(outcome)
    if isinstance(outcome, Finished):
        assert status < 300
        assert [source.index for source in outcome.sources] == list(range(len(outcome.sources)))
        assert all((source.url is None) is (source.inline is not None) for source in outcome.sources)
        assert sum(len(source.inline or b"") for source in outcome.sources) <= len(body)
