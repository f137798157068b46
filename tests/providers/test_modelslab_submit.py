"""ModelsLab's answers to a submit: which prove that nothing runs, and which leave it open."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.jobs.errors import ErrorCode
from service.providers.contract import (
    Accepted,
    Finished,
    HttpReply,
    NotRun,
    OperationConfig,
    Rejected,
    Source,
    SubmitOutcome,
    Unclear,
)
from service.providers.modelslab import PROVIDER

from .arbitrary import QUICK, json_values, texts
from .bodies import draw_picture, encode

URL = "https://pub-3626123a908346a7a8be8d9295f44e26.r2.dev/generations/a-0.png"
FUTURE = "https://pub-3626123a908346a7a8be8d9295f44e26.r2.dev/generations/not-yet-0.png"
FETCH = "https://modelslab.com/api/v6/images/fetch/134701497"


def read(status: int, body: Any, operation: str = "inpaint", **headers: str) -> SubmitOutcome:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    reply = HttpReply(status, {name.replace("_", "-"): value for name, value in headers.items()}, raw)
    return PROVIDER.read_submit(operation, reply)


def success(**more: Any) -> dict[str, Any]:
    return {"status": "success", "generationTime": 20.97, "id": 13446970, "output": [URL], "meta": {}, **more}


def found(**more: Any) -> tuple[Source, ...]:
    outcome = read(200, success(**more))
    return outcome.sources if isinstance(outcome, Finished) else ()


# --- The result at once ---------------------------------------------------------------------------------------------


def test_success_with_outputs_is_the_result() -> None:
    assert read(200, success()) == Finished("13446970", (Source(0, "image", URL),))


@pytest.mark.parametrize(
    ("said", "task_id"),
    [(13446970, "13446970"), ("13446970", "13446970"), ("abc123-def456", "abc123-def456"), (None, None), ("", None)],
)
def test_id_of_any_type_is_text(said: Any, task_id: str | None) -> None:
    assert read(200, success(id=said)) == Finished(task_id, (Source(0, "image", URL),))


@pytest.mark.parametrize("output", [[], "", None, {}, [None], [5, {}], ["processing"], [""]])
def test_success_without_outputs_is_looked_up_when_it_has_an_id(output: Any) -> None:
    assert read(200, success(output=output)) == Accepted("13446970")
    assert read(200, success(output=output, id=None)) == Finished(None, ())


def test_success_without_any_output_field_is_the_same() -> None:
    assert read(200, {"status": "success", "id": 5}) == Accepted("5")
    assert read(200, {"status": "success"}) == Finished(None, ())


def test_outputs_get_a_running_index() -> None:
    assert [(s.index, s.url) for s in found(output=[URL, "", URL + "2"])] == [(0, URL), (1, URL + "2")]


@pytest.mark.parametrize("output", [[], "", None])
@pytest.mark.parametrize("name", ["proxy_links", "links"])
def test_proxy_links_and_links_stand_in_for_an_empty_output(name: str, output: Any) -> None:
    assert [source.url for source in found(output=output, **{name: [URL]})] == [URL]
    assert [source.url for source in found(output=output, **{name: URL})] == [URL]
    assert [source.url for source in found(**{name: [URL + "-other"]})] == [URL]


@pytest.mark.parametrize("empty", ["", None, []])
def test_proxy_links_of_every_empty_kind_say_nothing(empty: Any) -> None:
    assert [source.url for source in found(proxy_links=empty, links=empty)] == [URL]


@pytest.mark.parametrize("body", [success(output=[]), success(output="", id=None), {"status": "processing", "id": 5}])
def test_future_links_are_never_used(body: Any) -> None:
    assert read(200, {**body, "future_links": [FUTURE]}) == read(200, body)


@pytest.mark.parametrize(
    ("flag", "nsfw"),
    [
        (False, {"nsfw_content_detected": False}),
        (True, {"nsfw_content_detected": True}),
        ([True], {"nsfw_content_detected": True}),
        ([], None),
        (None, None),
        ("no", None),
        (1, None),
    ],
)
def test_nsfw_flag_is_kept_with_the_file(flag: Any, nsfw: Any) -> None:
    assert [source.nsfw for source in found(nsfw_content_detected=flag)] == [nsfw]


def test_nsfw_flags_go_to_their_own_files() -> None:
    flags = found(output=[URL, URL], nsfw_content_detected=[False, True])
    assert [source.nsfw for source in flags] == [{"nsfw_content_detected": False}, {"nsfw_content_detected": True}]


BESIDE_THE_POINT: list[dict[str, Any]] = [
    *[{"eta": eta} for eta in (35, 0.25, 13.06, "35", None)],
    *[
        {name: "Get more speed with a larger plan"}
        for name in ("tip", "tips", "tip_1", "message", "messege", "warning")
    ],
    {"webhook_status": "", "warning": "", "generationTime": 20.97},
    {"fetch_result": FETCH},
    {"meta": {"W": 512, "seed": 1, "id": 5}},
    {"meta": {"W": "512", "seed": "1", "id": "5", "webhook": "https://relay.example/token", "track_id": "job_01-1"}},
    {"meta": []},
    {"track_id": "job_02-1"},
]


@pytest.mark.parametrize("more", BESIDE_THE_POINT, ids=str)
def test_what_stands_beside_the_result_changes_nothing(more: dict[str, Any]) -> None:
    assert read(200, success(**more)) == Finished("13446970", (Source(0, "image", URL),))
    assert read(200, {"status": "processing", "id": 13446970, "output": [], **more}) == Accepted("13446970")


@pytest.mark.parametrize("task_id", [5, "5"])
def test_id_that_meta_repeats_is_not_the_tasks(task_id: Any) -> None:
    meta = {"id": task_id, "request_id": task_id, "fetch_result": FETCH}
    assert read(200, success(id=None, meta=meta)) == Finished(None, (Source(0, "image", URL),))
    body: dict[str, Any] = {"status": "processing", "id": None, "output": [], "meta": meta}
    assert read(200, body) == Unclear("HTTP 200 without a task id")


# --- base64: "yes" --------------------------------------------------------------------------------------------------

PICTURE = draw_picture()


def test_output_in_base64_is_the_file_itself() -> None:
    (source,) = found(output=[encode(PICTURE)])
    assert source == Source(0, "image", inline=PICTURE)


def test_output_in_base64_may_be_broken_into_lines_and_stand_alone() -> None:
    text = encode(PICTURE)
    assert [source.inline for source in found(output=f"{text[:40]}\n{text[40:]}\n")] == [PICTURE]


def test_output_as_data_uri_is_the_file_itself_with_its_claimed_type() -> None:
    (source,) = found(output=[f"data:image/png;base64,{encode(PICTURE)}"])
    assert source == Source(0, "image", inline=PICTURE, claimed_type="image/png")


@pytest.mark.parametrize(
    "text", ["done", "a" * 60, "*" * 100, "data:image/png;base64,*", "data:image/png,abc", "data:;base64,"]
)
def test_words_are_not_taken_for_files(text: str) -> None:
    assert found(output=[text]) == ()


@pytest.mark.parametrize("ending", [".base64", ".txt", ".BASE64", ".txt?x=y"])
def test_link_to_a_text_is_marked_as_encoded(ending: str) -> None:
    link = URL.replace(".png", ending)
    assert found(output=[link]) == (Source(0, "image", link, encoded=True),)


def test_source_shows_neither_its_url_nor_its_bytes() -> None:
    assert "generations" not in repr(found())
    assert "PNG" not in repr(found(output=[encode(PICTURE)]))


@pytest.mark.parametrize(
    ("outputs", "url", "kind"),
    [
        (("image",), "a.png", "image"),
        (("image",), "a.mp4", "image"),
        (("video",), "a.mp4", "video"),
        (("video",), "a", "video"),
        (("audio",), "a.mp3", "audio"),
        (("image", "video"), "a.mp4", "video"),
        (("video", "image"), "a.png", "image"),
    ],
)
def test_kind_is_what_the_operation_makes(outputs: Any, url: str, kind: str) -> None:
    provider = PROVIDER.configured({"x": OperationConfig(path="/api/v1/enterprise/video/x", outputs=outputs)})
    body = json.dumps(success(output=[f"https://cdn2.stablediffusionapi.com/{url}"])).encode()
    outcome = provider.read_submit("x", HttpReply(200, {}, body))
    assert isinstance(outcome, Finished)
    assert [source.kind for source in outcome.sources] == [kind]


# --- A place in the queue -------------------------------------------------------------------------------------------

ACCEPTED = [
    ({"status": "processing", "id": 134701497}, "134701497"),
    ({"status": "processing", "id": "134701497", "output": ""}, "134701497"),
    ({"status": "processing", "id": 5, "output": [URL]}, "5"),
    ({"status": "PROCESSING", "id": 5}, "5"),
    ({"status": "queued", "id": 5}, "5"),
    ({"status": "something new", "id": 5}, "5"),
    ({"id": 5}, "5"),
    ({"status": 7, "id": 5}, "5"),
    ({"status": "processing", "id": None, "fetch_result": FETCH}, "134701497"),
    ({"status": "processing", "id": "", "fetch_result": FETCH + "/"}, "134701497"),
    ({"status": "processing", "fetch_result": FETCH + "?a=b"}, "134701497"),
    (
        {"status": "processing", "fetch_result": "https://modelslab.com/api/v6/images/fetch/abc123-def456"},
        "abc123-def456",
    ),
    ({"status": "processing", "id": 5, "fetch_result": FETCH}, "5"),
    ({"status": "processing", "request_id": "6"}, "6"),
    # An error that names a task is about that task: the look-up tells how it ended.
    ({"status": "error", "id": 5, "message": "Failed, Try Again"}, "5"),
    ({"status": "failed", "id": 5, "message": "Failed, Try Again"}, "5"),
    # Whatever it says: these may be the customer's own words, and the task is there.
    ({"status": "failed", "id": 123, "message": "Failed: prompt 'slow down' refused"}, "123"),
    ({"status": "error", "id": 5, "message": "Rate limit exceeded"}, "5"),
    ({"status": "error", "id": 5, "message": "Internal server error"}, "5"),
]


@pytest.mark.parametrize(("body", "task_id"), ACCEPTED)
def test_task_that_is_named_is_accepted(body: Any, task_id: str) -> None:
    assert read(200, body) == Accepted(task_id)
    assert read(201, body) == Accepted(task_id)


@pytest.mark.parametrize(
    "fetch_result",
    [
        "",
        None,
        5,
        "134701497",
        "/api/v6/images/fetch/134701497",
        "https://modelslab.com/api/v6/images/fetch",
        "https://modelslab.com/api/v6/images/fetch/",
        "https://modelslab.com/api/v6/images/fetch/later",
        "https://modelslab.com/api/v6/images/134701497",
        "https://modelslab.com/api/v6/images/fetch/1/../2",
        "https://modelslab.com/api/v6/images/fetch/1%2F2",
        "https://modelslab.com/?x=/fetch/134701497",
        "https://modelslab.com/fetch/" + "1" * 129,
    ],
)
def test_only_a_tail_that_looks_like_an_id_is_one(fetch_result: Any) -> None:
    body = {"status": "processing", "id": None, "fetch_result": fetch_result}
    assert read(200, body) == Unclear("HTTP 200 without a task id")


@pytest.mark.parametrize("task_id", [True, 1.5, [5], {}, "a b", "a/b", "a?b", "..", ".", "ä", "x" * 129, 2**63, "\0"])
def test_nonsense_is_no_task_id(task_id: Any) -> None:
    assert read(200, {"status": "processing", "id": task_id}) == Unclear("HTTP 200 without a task id")


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
    (500, success(), "HTTP 500"),
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


@QUICK
@given(output=json_values(["url"]), links=json_values(["url"]))
def test_outputs_of_any_json_are_read(output: Any, links: Any) -> None:
    outcome = read(200, success(output=output, proxy_links=links, future_links=[FUTURE]))
    assert isinstance(outcome, Accepted | Finished | Unclear)  # NaN is no JSON
    if isinstance(outcome, Finished):
        assert [source.index for source in outcome.sources] == list(range(len(outcome.sources)))
        assert all((source.url is None) is not (source.inline is None) for source in outcome.sources)
