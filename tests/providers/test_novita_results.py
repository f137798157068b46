"""Novita's tasks: their state, out of task-result and out of callbacks."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

import pytest

from config.providers import NovitaSettings
from service.providers.contract import (
    CallbackHint,
    Failed,
    HttpReply,
    LookUpOutcome,
    LookUpUnavailable,
    ReadBack,
    Source,
    StillRunning,
    Succeeded,
    TaskNotFound,
)
from service.providers.novita import PROVIDER
from service.providers.novita.errors import REASONS, Reason

TASK = "73fab7c0-e24f-4027-9df0-81ff8ce4bc1f"
URL = "https://faas-output-image.s3.ap-southeast-1.amazonaws.com/prod/a.png?X-Amz-Signature=SIGNATURE"


def answer(status: Any = "TASK_STATUS_SUCCEED", images: Any = (), **task: Any) -> dict[str, Any]:
    return {"extra": {}, "task": {"task_id": TASK, "status": status, **task}, "images": images}


def look_up(body: Any, status: int = 200, **headers: str) -> ReadBack:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return PROVIDER.read_look_up(
        "txt2img", TASK, HttpReply(status, {k.replace("_", "-"): v for k, v in headers.items()}, raw)
    )


def outcome(body: Any, status: int = 200) -> LookUpOutcome:
    return look_up(body, status).outcome


def sources(*images: Any, **more: Any) -> tuple[Source, ...]:
    state = outcome({**answer(images=list(images)), **more})
    assert isinstance(state, Succeeded)
    return state.sources


STATES = [
    ("TASK_STATUS_QUEUED", StillRunning),
    ("TASK_STATUS_PROCESSING", StillRunning),
    ("TASK_STATUS_SUCCEED", Succeeded),
    ("TASK_STATUS_FAILED", Failed),
    ("TASK_STATUS_UNKNOWN", StillRunning),
    ("TASK_STATUS_CANCELED", Failed),
    ("TASK_STATUS_SUCCEEDED", StillRunning),
    ("succeeded", StillRunning),
    ("", StillRunning),
    (None, StillRunning),
    (7, StillRunning),
    (["TASK_STATUS_SUCCEED"], StillRunning),
]


@pytest.mark.parametrize(("status", "expected"), STATES)
def test_status_means_the_same_looked_up_and_called_back(status: Any, expected: type) -> None:
    body = answer(status)
    looked_up = outcome(body)
    assert type(looked_up) is expected
    hint = PROVIDER.read_callback(json.dumps({"event_type": "ASYNC_TASK_RESULT", "payload": body}).encode())
    assert hint == CallbackHint(True, TASK, looked_up)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("said", "progress"),
    [
        (0, 0),
        (42, 42),
        (42.9, 42),
        (100, 100),
        (250, 100),
        (-3, 0),
        (10**300, 100),
        (None, None),
        ("50", None),
        (True, None),
        ([], None),
    ],
)
def test_progress_stays_between_0_and_100(said: Any, progress: int | None) -> None:
    state = outcome(answer("TASK_STATUS_PROCESSING", progress_percent=said))
    assert state == StillRunning("TASK_STATUS_PROCESSING", progress)


def test_unknown_status_is_kept_short_and_clean() -> None:
    state = outcome(answer("x\0" + "y" * 1000))
    assert isinstance(state, StillRunning)
    assert state.provider_status == "x\ufffd" + "y" * 97 + "…"


def test_every_kind_of_output_is_read_with_a_running_index() -> None:
    found = sources(
        {"image_url": URL, "image_url_ttl": "3600", "image_type": "jpeg"},
        {"image_url": URL + "2", "image_url_ttl": 3600, "image_type": "png", "nsfw_detection_result": {}},
        videos=[{"video_url": URL + "3", "video_url_ttl": "60", "video_type": "mp4"}],
        audios=[{"audio_url": URL + "4", "audio_url_ttl": "60", "audio_type": "wav", "audio_metadata": {"text": "x"}}],
    )
    assert found == (
        Source(0, "image", URL, 3600, "jpeg"),
        Source(1, "image", URL + "2", 3600, "png"),
        Source(2, "video", URL + "3", 60, "mp4"),
        Source(3, "audio", URL + "4", 60, "wav"),
    )


SOUNDS_AND_MOVES = [
    ("video", "mp4", "3600", 3600),
    ("video", "mp4", 3600, 3600),
    ("video", "gif", "3600", 3600),
    ("audio", "wav", "3600", 3600),
    ("audio", "wav", 60, 60),
    ("audio", None, None, None),
]


@pytest.mark.parametrize(("kind", "suffix", "ttl", "seconds"), SOUNDS_AND_MOVES)
def test_videos_and_audios_are_read_the_same_looked_up_and_called_back(
    kind: Any, suffix: str | None, ttl: Any, seconds: int | None
) -> None:
    item = {f"{kind}_url": URL, f"{kind}_url_ttl": ttl, f"{kind}_type": suffix, "audio_metadata": {"text": "x"}}
    body = {**answer(), f"{kind}s": [item]}
    expected = Succeeded("TASK_STATUS_SUCCEED", (Source(0, kind, URL, seconds, suffix),))
    assert outcome(body) == expected
    del body["extra"]  # as in an example of the page
    event = json.dumps({"event_type": "ASYNC_TASK_RESULT", "payload": body}).encode()
    assert PROVIDER.read_callback(event).state == expected


HOSTED = [
    f"https://faas-output-image.s3.ap-southeast-1.amazonaws.com/prod/{TASK}/6e38c309732f4241b99f75e54ffdb54a.jpeg",
    "https://faas-output-video.s3.ap-southeast-1.amazonaws.com/prod/6e38c309732f4241b99f75e54ffdb54a.mp4",
    "https://faas-output-image.s3.ap-southeast-1.amazonaws.com/test_data/image_01.jpeg",
    "https://faas-output-image.s3.ap-southeast-1.amazonaws.com/v2_prod/6e38c309732f4241b99f75e54ffdb54a.png",
    f"https://faas-output-image.s3.ap-southeast-1.amazonaws.com/dev/replace_object_{TASK}_0.png",
]
SIGNED = (
    "?X-Amz-Credential=ACCESS%2F20240124%2Fap-southeast-1&X-Amz-Expires=3600&x-id=GetObject&X-Amz-Signature=SIGNATURE"
)


@pytest.mark.parametrize("url", HOSTED)
def test_output_url_is_kept_with_its_signature_word_for_word(url: str) -> None:
    (source,) = sources({"image_url": url + SIGNED})
    assert source.url == url + SIGNED


def test_documented_hosts_of_outputs_are_the_ones_allowed_by_default() -> None:
    assert set(NovitaSettings().output_hosts) == {urlsplit(url).hostname for url in HOSTED}


MISSING = object()
DEBUG = {"request_info": '{"prompt": "a lighthouse"}', "submit_time_ms": "", "execute_time_ms": "1706105431000"}
BESIDE_THE_POINT = [
    ("extra", [MISSING, None, {}]),
    ("extra.seed", [MISSING, "3183986171", 3183986171]),
    ("extra.enable_nsfw_detection", [MISSING, True, False]),
    ("extra.debug_info", [MISSING, None, {}, DEBUG]),
    ("task.task_id", [MISSING]),
    ("task.task_type", [MISSING]),
    ("task.reason", [MISSING, "", "free text"]),
    ("task.eta", [MISSING, 0, 30, 12.5]),
    ("task.progress_percent", [MISSING, 0, 50, 100]),
    ("videos", [MISSING, []]),
    ("audios", [MISSING, []]),
    ("imgs", [[], [{"image_url": URL + "-other"}], [URL + "-other"]]),
]


@pytest.mark.parametrize(("path", "value"), [(path, value) for path, values in BESIDE_THE_POINT for value in values])
def test_success_needs_neither_of_these_and_is_changed_by_none(path: str, value: Any) -> None:
    body: dict[str, Any] = {
        **answer(images=[{"image_url": URL}], task_type="TXT_TO_IMG", reason="", eta=0, progress_percent=0),
        "extra": {"seed": "1434608307", "enable_nsfw_detection": True, "debug_info": DEBUG},
        "videos": [],
        "audios": [],
    }
    *parents, name = path.split(".")
    place = body[parents[0]] if parents else body
    place.pop(name, None)
    if value is not MISSING:
        place[name] = value
    read = look_up(body)
    assert read == ReadBack(Succeeded("TASK_STATUS_SUCCEED", (Source(0, "image", URL),)))
    assert "lighthouse" not in repr(read)


def test_of_a_long_list_only_the_first_64_are_looked_at() -> None:
    assert len(sources(*[{"image_url": URL}] * 100)) == 64
    assert len(sources(*[{"image_url": URL}] * 100, videos=[{"video_url": URL}] * 100)) == 128
    assert sources(*[{}] * 64, {"image_url": URL}) == ()


def test_an_item_in_the_wrong_list_is_no_output() -> None:
    assert sources(videos=[{"image_url": URL}], audios=[{"video_url": URL}]) == ()


@pytest.mark.parametrize(
    "task_type", ["TXT_TO_IMG", "UPSCALE", "IMG_TO_VIDEO", "QWEN_IMAGE_TEXT_TO_IMAGE", "", None, 5]
)
def test_task_type_decides_nothing(task_type: Any) -> None:
    assert outcome(answer(task_type=task_type)) == Succeeded("TASK_STATUS_SUCCEED", ())


@pytest.mark.parametrize(
    "url", [None, "", 5, [], "ftp://x.example/a", "/a.png", "https://", "https://a b/", "https://[", "x"]
)
def test_output_without_http_url_is_skipped(url: Any) -> None:
    assert [source.url for source in sources({"image_url": url}, {"image_url": URL})] == [URL]
    assert [source.index for source in sources({"image_url": url}, {"image_url": URL})] == [0]


@pytest.mark.parametrize("images", [None, {}, "x", [None, 5, "x", []]])
def test_success_with_malformed_outputs_has_none(images: Any) -> None:
    assert outcome(answer(images=images)) == Succeeded("TASK_STATUS_SUCCEED", ())


def test_success_without_any_list_of_outputs_has_none() -> None:
    assert outcome({"task": {"status": "TASK_STATUS_SUCCEED"}}) == Succeeded("TASK_STATUS_SUCCEED", ())


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("3600", 3600),
        (3600, 3600),
        (3600.0, 3600),
        ("604800", 604800),
        (None, None),
        ("", None),
        ("soon", None),
        (-1, None),
        ("-1", None),
        (0, None),
        (True, None),
        ([], None),
        (10**300, None),
        ("9" * 5000, None),
        ("٣", None),
    ],
)
def test_time_to_live_is_seconds_or_not_said(said: Any, seconds: int | None) -> None:
    (source,) = sources({"image_url": URL, "image_url_ttl": said})
    assert source.ttl_seconds == seconds


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ({"valid": True, "confidence": 0}, {"valid": True, "confidence": 0}),
        ({"valid": False, "confidence": 99.5}, {"valid": False, "confidence": 99.5}),
        ({"valid": True, "confidence": 10**300}, {"valid": True}),
        ({"valid": True, "a\0": 1, "b": "\ud800", "c": [[]], "d": "fine"}, {"valid": True, "d": "fine"}),
        ({}, None),
        (None, None),
        ([], None),
        ("clean", None),
    ],
)
def test_nsfw_result_is_kept_when_it_says_something(said: Any, kept: Any) -> None:
    (source,) = sources({"image_url": URL, "nsfw_detection_result": said})
    assert source.nsfw == kept


def test_source_does_not_show_its_url() -> None:
    assert "SIGNATURE" not in repr(sources({"image_url": URL}))


def test_failure_tells_the_reason_and_what_to_do() -> None:
    state = outcome(answer("TASK_STATUS_FAILED", reason="ILLEGAL_PROMPT"))
    assert isinstance(state, Failed)
    assert state.error.as_json() == {
        "code": "provider_failed",
        "message": "Novita reports that the task failed: ILLEGAL_PROMPT",
        "hint": "Novita's content policy refuses this; change the prompt and submit again.",
        "provider": {"status": None, "code": "TASK_STATUS_FAILED", "message": "ILLEGAL_PROMPT"},
    }


@pytest.mark.parametrize("reason", ["", None, 5, " "])
def test_failure_without_reason_says_so(reason: Any) -> None:
    state = outcome(answer("TASK_STATUS_FAILED", reason=reason))
    assert isinstance(state, Failed)
    assert state.error.message == "Novita reports that the task failed, without a reason."
    assert state.error.hint


def test_canceled_task_is_told_as_canceled() -> None:
    state = outcome(answer("TASK_STATUS_CANCELED", reason="x" * 10_000))
    assert isinstance(state, Failed)
    assert state.error.message.startswith("Novita reports that the task was canceled: xxx")
    assert len(state.error.message) < 600


# --- Which task, and whose ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task_id", ["741597cc", 5, TASK.upper(), TASK + " ", ["x"], {}])
def test_answer_about_another_task_says_nothing(task_id: Any) -> None:
    body = answer(task_id=task_id) | {"extra": {"webhook": {"url": "https://relay.example/token"}}}
    assert look_up(body) == ReadBack(LookUpUnavailable("the answer is about another task"), None)


@pytest.mark.parametrize("task_id", [None, ""])
def test_answer_without_task_id_is_taken_for_the_one_asked_for(task_id: Any) -> None:
    assert outcome(answer(task_id=task_id)) == Succeeded("TASK_STATUS_SUCCEED", ())


def test_integer_ids_compare_as_text() -> None:
    body = json.dumps(answer(task_id=13446970)).encode()
    assert PROVIDER.read_look_up("txt2img", "13446970", HttpReply(200, {}, body)).outcome == Succeeded(
        "TASK_STATUS_SUCCEED", ()
    )


@pytest.mark.parametrize(
    ("extra", "echoed"),
    [
        ({"webhook": {"url": "https://relay.example/token"}}, "https://relay.example/token"),
        ({"webhook": {"url": 5}}, None),
        ({"webhook": {"url": ""}}, None),
        ({"webhook": {"url": "https://relay.example/tökén"}}, None),
        ({"webhook": "https://relay.example/token"}, None),
        ({}, None),
        (None, None),
        ([], None),
    ],
)
def test_callback_url_is_echoed_and_not_shown(extra: Any, echoed: str | None) -> None:
    read = look_up({**answer(), "extra": extra})
    assert read.callback_url == echoed
    assert "token" not in repr(read)


NOTHING_SAID = [
    (200, b"", "HTTP 200 without a task"),
    (200, b"<html></html>", "HTTP 200 without a task"),
    (200, [], "HTTP 200 without a task"),
    (200, {}, "HTTP 200 without a task"),
    (200, {"task": None}, "HTTP 200 without a task"),
    (200, {"task": "x"}, "HTTP 200 without a task"),
    (301, answer(), "HTTP 301"),
    (403, {"code": 403, "reason": "INVALID_API_KEY", "message": "x"}, "HTTP 403 INVALID_API_KEY"),
    (404, {"code": 404, "reason": "API_NOT_FOUND", "message": "x"}, "HTTP 404 API_NOT_FOUND"),
    (410, b"", "HTTP 410"),
    (429, b"slow down", "HTTP 429"),
    (500, {"code": 500, "reason": "GET_RESULT_FAILED", "message": "x"}, "HTTP 500 GET_RESULT_FAILED"),
    (500, {"code": 500, "reason": "TASK_NOT_FOUND", "message": "x"}, "HTTP 500 TASK_NOT_FOUND"),
    (500, answer(), "HTTP 500"),
    (504, b"", "HTTP 504"),
]


@pytest.mark.parametrize(("status", "body", "reason"), NOTHING_SAID)
def test_answer_that_says_nothing_about_the_task_is_asked_for_again(status: int, body: Any, reason: str) -> None:
    assert look_up(body, status) == ReadBack(LookUpUnavailable(reason))


@pytest.mark.parametrize(("reason", "row"), REASONS.items())
def test_documented_error_of_a_look_up_says_nothing_about_the_task_but_one(reason: str, row: Reason) -> None:
    read = look_up({"code": row.status, "reason": reason, "message": "some words", "metadata": {}}, row.status)
    if reason == "TASK_NOT_FOUND":
        assert read == ReadBack(TaskNotFound())
    else:
        assert read == ReadBack(LookUpUnavailable(f"HTTP {row.status} {reason}"))


def test_busy_look_up_says_how_long_to_wait() -> None:
    assert look_up(b"", 429, retry_after="12") == ReadBack(LookUpUnavailable("HTTP 429", 12.0))


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, {"code": 3, "msg": "no such task"}),
        (404, {"code": 404, "reason": "TASK_NOT_FOUND", "message": "task not found"}),
        (400, {"reason": "TASK_NOT_FOUND"}),
        (200, {"reason": "TASK_NOT_FOUND"}),
    ],
)
def test_unknown_task_is_not_found(status: int, body: Any) -> None:
    assert look_up(body, status) == ReadBack(TaskNotFound())


@pytest.mark.parametrize("body", [b"", b"<html>404 page not found</html>", {"message": "no Route matched"}])
def test_a_gateways_404_says_nothing_about_the_task(body: Any) -> None:
    assert look_up(body, 404) == ReadBack(LookUpUnavailable("HTTP 404"))
