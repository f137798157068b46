"""Seedream's answers: images in every shape that was seen, some of which failed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.providers import contract
from service.providers.contract import Finished, NotRun, Rejected, Source, Unclear
from service.providers.novita.seedream.ark import CODES

from .arbitrary import QUICK, as_bytes, json_values, swapped
from .seedream_answers import BASE64, BOTH, BUSY, PADDED, SENSITIVE, URL, by_url, encode, inline, read
from .test_contract import assert_storable

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
