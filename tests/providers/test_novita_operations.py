"""What the operator says about Novita's operations: switched off, moved, limited in what they take, or added."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.providers.contract import (
    Accepted,
    CheckedInput,
    CustomStorage,
    Finished,
    HttpReply,
    Mistake,
    NotRun,
    OperationConfig,
    Ours,
    Provider,
    ProviderAccess,
    Rejected,
    Source,
    SubmitOutcome,
    TestMode,
    Unclear,
)
from service.providers.novita import PROVIDER

from .arbitrary import QUICK, json_values
from .bodies import STORAGE, make_input

ACCESS = ProviderAccess("https://api.novita.ai", "sk_our-own-key")
CALLBACK = "https://relay.example/v1/callbacks/novita/token"
QWEN = OperationConfig(path="/v3/async/qwen-image-txt2img")


def added(config: OperationConfig = QWEN, name: str = "QWEN_IMAGE_TXT2IMG") -> Provider:
    return PROVIDER.configured({name: config})


def accept(body: Any) -> CheckedInput:
    checked = added().check_input("qwen-image-txt2img", body)
    assert isinstance(checked, CheckedInput), checked
    return checked


# --- Names ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("TXT2IMG", "txt2img"),
        ("Txt2Img", "txt2img"),
        ("SEEDREAM_4_0", "seedream-4.0"),
        ("seedream-4-0", "seedream-4.0"),
        ("Seedream 4.5", "seedream-4.5"),
    ],
)
def test_known_operation_is_named_in_many_ways(said: str, name: str) -> None:
    moved = PROVIDER.configured({said: OperationConfig(path="/v9/moved")})
    assert list(moved.operations) == list(PROVIDER.operations)
    assert moved.operations[name].path == "/v9/moved"


@pytest.mark.parametrize(
    ("said", "path", "name"),
    [
        ("QWEN_IMAGE_TXT2IMG", "/v3/async/qwen-image-txt2img", "qwen-image-txt2img"),
        ("qwen_image_txt2img", "/v3/async/other", "qwen-image-txt2img"),
        ("WAN2_6_T2V", "/v3/async/wan2.6-t2v", "wan2.6-t2v"),
        ("wan2.6-t2v", "/v3/async/elsewhere", "wan2.6-t2v"),
    ],
)
def test_added_operation_is_named_in_lower_case_with_dashes(said: str, path: str, name: str) -> None:
    provider = PROVIDER.configured({said: OperationConfig(path=path)})
    assert set(provider.operations) - set(PROVIDER.operations) == {name}
    assert (provider.operations[name].name, provider.operations[name].path) == (name, path)


@pytest.mark.parametrize("name", ["", "-x", "a b", "a/b", "ä", "x" * 65, "a\n"])
def test_added_operation_needs_a_sound_name(name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        PROVIDER.configured({name: OperationConfig(path="/v3/async/x")})


def test_seedream_takes_no_webhook_whatever_is_said() -> None:
    with pytest.raises(ValueError, match=r"SEEDREAM_4_0.*webhook"):
        PROVIDER.configured({"SEEDREAM_4_0": OperationConfig(takes_webhook=True)})


def test_every_mistake_of_the_operator_is_told_at_once() -> None:
    with pytest.raises(ValueError, match=r"(?s)NO_SUCH_THING.*UPSCALE"):
        PROVIDER.configured({"NO_SUCH_THING": OperationConfig(), "UPSCALE": OperationConfig(path="upscale")})


def test_outputs_of_an_added_operation_may_lie_anywhere() -> None:
    operations = added().operations
    anywhere = {name for name, operation in operations.items() if operation.outputs_anywhere}
    assert anywhere == set(operations) - {"txt2img", "img2img", "inpainting", "upscale"}


def test_one_word_comes_on_top_of_another() -> None:
    provider = added().configured({"TXT2IMG": OperationConfig(enabled=False)})
    assert set(provider.operations) == {*PROVIDER.operations, "qwen-image-txt2img"} - {"txt2img"}
    assert isinstance(provider.check_input("qwen-image-txt2img", {}), CheckedInput)


@pytest.mark.parametrize("path", ["/v3/async/wan2.6-t2v", "/v3/async/a/b", "/v3beta/flux-1-schnell"])
def test_operation_is_added_where_novita_answers_with_a_task(path: str) -> None:
    assert added(OperationConfig(path=path), "new").operations["new"].path == path


@pytest.mark.parametrize(
    "path",
    [
        "/v3/seedream-4.5",
        "/v3/seedream-5.0-lite",
        "/v3/remove-background",
        "/v3/async",
        "/v3/async/",
        "/v3/async/../seedream-4.5",
        "/v3/asynchronous/x",
        "/v3beta",
        "/v3beta/",
        "/v2/txt2img",
        "/x/v3/async/y",
        "/V3/ASYNC/x",
        "/",
    ],
)
def test_operation_cannot_be_added_where_novita_answers_with_the_result(path: str) -> None:
    with pytest.raises(ValueError, match=r"/v3/async/… or /v3beta/…") as caught:
        PROVIDER.configured({"seedream_5_lite": OperationConfig(path=path)})
    told = str(caught.value)
    assert "GENRELAY_PROVIDERS__NOVITA__OPERATIONS__SEEDREAM_5_LITE__PATH must be" in told
    assert told.endswith(f"got {path}")


def test_operation_that_is_switched_off_may_be_said_to_lie_anywhere() -> None:
    provider = PROVIDER.configured({"SEEDREAM5": OperationConfig(enabled=False, path="/v3/seedream-5.0-lite")})
    assert dict(provider.operations) == dict(PROVIDER.operations)


# --- Known ones -----------------------------------------------------------------------------------------------------


def test_moved_operation_keeps_its_check_and_its_webhook_but_gets_our_mocks() -> None:
    moved = PROVIDER.configured({"TXT2IMG": OperationConfig(path="/v4/txt2img")})
    assert isinstance(moved.check_input("txt2img", {}), list)
    call = moved.submit_call(ACCESS, "txt2img", make_input(), Ours(CALLBACK))
    assert call.url == "https://api.novita.ai/v4/txt2img"
    assert CALLBACK.encode() in (call.body or b"")
    assert moved.operations["txt2img"].native_test_mode is False
    with pytest.raises(ValueError, match="paid"):
        moved.submit_call(ACCESS, "txt2img", make_input(), Ours(CALLBACK, test_mode=TestMode("TASK_STATUS_SUCCEED")))


def test_operation_without_webhook_gets_neither_callback_nor_test_mode() -> None:
    silent = PROVIDER.configured({"UPSCALE": OperationConfig(takes_webhook=False)})
    call = silent.submit_call(ACCESS, "upscale", make_input("upscale"), Ours(CALLBACK))
    assert json.loads(call.body or b"") == make_input("upscale")
    assert silent.operations["upscale"].native_test_mode is False


def test_the_documented_path_said_once_more_changes_nothing() -> None:
    said = {"IMG2IMG": OperationConfig(path="/v3/async/img2img", takes_webhook=True, outputs=("image",))}
    assert dict(PROVIDER.configured(said).operations) == dict(PROVIDER.operations)


# --- Added ones -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "takes_webhook", "outputs"),
    [
        (QWEN, False, ("image",)),
        (OperationConfig(path="/v3/async/x", takes_webhook=True), True, ("image",)),
        (OperationConfig(path="/v3beta/x", takes_webhook=False, outputs=("video", "audio")), False, ("video", "audio")),
    ],
)
def test_added_operation_is_what_the_operator_says(config: OperationConfig, takes_webhook: bool, outputs: Any) -> None:
    shown = added(config).operations["qwen-image-txt2img"]
    assert (shown.takes_webhook, shown.outputs) == (takes_webhook, outputs)
    assert (shown.answers, shown.native_test_mode, shown.example) == ("task", False, None)
    assert json.loads(json.dumps(shown.input_schema))["type"] == "object"


@pytest.mark.parametrize("takes_webhook", [True, False])
def test_added_operation_names_our_callback_only_when_it_takes_one(takes_webhook: bool) -> None:
    provider = added(OperationConfig(path="/v3/async/x", takes_webhook=takes_webhook), "x")
    call = provider.submit_call(ACCESS, "x", {"prompt": "fog"}, Ours(CALLBACK))
    sent = json.loads(call.body or b"")
    assert sent == {"prompt": "fog", **({"extra": {"webhook": {"url": CALLBACK}}} if takes_webhook else {})}


@pytest.mark.parametrize("takes_webhook", [True, False])
def test_added_operation_is_never_sent_a_test_job(takes_webhook: bool) -> None:
    provider = added(OperationConfig(path="/v3/async/x", takes_webhook=takes_webhook), "x")
    with pytest.raises(ValueError, match="paid"):
        provider.submit_call(ACCESS, "x", {}, Ours(CALLBACK, test_mode=TestMode("TASK_STATUS_SUCCEED")))


def test_what_is_ours_is_taken_out_of_any_body() -> None:
    mode = {"enabled": True, "return_task_status": "TASK_STATUS_FAILED"}
    checked = accept(
        {
            "key": "sk_customers-own",
            "extra": {
                "webhook": {"url": "https://consumer.example/hooks", "test_mode": mode},
                "custom_storage": {"aws_s3": STORAGE},
                "something": [1, {"else": None}],
            },
            "prompt": "a lighthouse at dawn",
        }
    )
    assert checked == CheckedInput(
        {"extra": {"something": [1, {"else": None}]}, "prompt": "a lighthouse at dawn"},
        webhook="https://consumer.example/hooks",
        test_mode=TestMode("TASK_STATUS_FAILED"),
        storage=CustomStorage("eu-central-1", "acme-renders", "/", False),
    )


BROKEN = [
    (5, "input", "must be an object"),
    (None, "input", "must be an object"),
    ([], "input", "must be an object"),
    ({"extra": 5}, "input.extra", "must be an object"),
    ({"extra": {"webhook": {}}}, "input.extra.webhook.url", "required"),
    ({"extra": {"webhook": {"url": "ftp://x"}}}, "input.extra.webhook.url", "must be an http or https URL"),
    ({"extra": {"custom_storage": {"aws_s3": {}}}}, "input.extra.custom_storage.aws_s3.bucket", "required"),
    ({"a": {"b": ["\0"]}}, "input.a.b.0", "must not contain NUL characters"),
    ({"a": float("nan")}, "input.a", "must be a finite number"),
    ({"a": 2**63}, "input.a", "must fit into 64 bits"),
    ({"a": "\ud800"}, "input.a", "must not contain lone surrogates"),
    ({"a": [0] * 10_001}, "input", "must have at most 10000 fields and items in all"),
]


@pytest.mark.parametrize(("body", "path", "rule"), BROKEN, ids=[str(body)[:30] for body, _, _ in BROKEN])
def test_what_cannot_be_stored_or_obeyed_is_refused(body: Any, path: str, rule: str) -> None:
    mistakes = added().check_input("qwen-image-txt2img", body)
    assert isinstance(mistakes, list)
    assert {mistake.path: mistake.rule for mistake in mistakes}.get(path) == rule


COUNTED = [
    ({}, 1),
    ({"request": {"image_num": 8}}, 8),
    ({"request": {"n": 2}}, 2),
    ({"image_num": 3}, 3),
    ({"n": 4}, 4),
    ({"images": 5}, 5),
    ({"images": ["https://images.example/a.png"]}, 1),
    ({"request": {"image_num": 64}}, 64),
    ({"request": {"image_num": 65, "n": 2}}, 2),
    ({"image_num": 0}, 1),
    ({"image_num": True}, 1),
    ({"image_num": "3"}, 1),
    ({"image_num": 2.0}, 1),
    ({"request": [3]}, 1),
]


@pytest.mark.parametrize(("body", "images"), COUNTED)
def test_images_are_counted_where_pages_have_them(body: dict[str, Any], images: int) -> None:
    assert accept(body).images == images


def read_added(status: int, body: Any) -> SubmitOutcome:
    return added().read_submit("qwen-image-txt2img", HttpReply(status, {}, json.dumps(body).encode()))


URL = "https://images.example/lighthouse.png"


@pytest.mark.parametrize("operation", ["qwen-image-txt2img", "only-known-before-a-restart"])
def test_images_in_the_answer_to_an_added_operation_are_kept(operation: str) -> None:
    reply = HttpReply(200, {}, json.dumps({"images": [URL]}).encode())
    assert added().read_submit(operation, reply) == Finished(None, (Source(0, "image", url=URL),))


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        (200, {"task_id": "73fab7c0", "images": [URL]}, Accepted("73fab7c0")),
        (200, {"data": {"task_id": "73fab7c0", "images": [URL]}}, Accepted("73fab7c0")),
        (200, {"images": []}, Unclear("HTTP 200 without a task id")),
        (200, {"images": None}, Unclear("HTTP 200 without a task id")),
        (200, {"images": ["soon"]}, Unclear("HTTP 200 without a task id")),
        (200, {}, Unclear("HTTP 200 without a task id")),
        (500, {"images": [URL]}, Unclear("HTTP 500")),
        (429, {"images": [URL]}, NotRun("HTTP 429")),
    ],
)
def test_a_task_or_a_refusal_counts_before_images_and_no_image_is_no_result(
    status: int, body: Any, outcome: SubmitOutcome
) -> None:
    assert read_added(status, body) == outcome


@QUICK
@given(value=json_values(["extra", "webhook", "url", "custom_storage", "aws_s3", "request", "n", "images"]))
def test_any_object_is_accepted_word_for_word_or_refused_by_path(value: Any) -> None:
    checked = added().check_input("qwen-image-txt2img", value)
    if isinstance(checked, list):
        assert checked
        assert all(isinstance(m, Mistake) and m.path.split(".")[0] == "input" for m in checked)
        return
    assert 1 <= checked.images <= 64
    assert {"webhook", "custom_storage"}.isdisjoint(checked.body.get("extra") or {})
    call = added().submit_call(ACCESS, "qwen-image-txt2img", checked.body, Ours(CALLBACK))
    assert json.loads(call.body or b"") == checked.body


@QUICK
@given(
    said=st.dictionaries(
        st.text(max_size=12) | st.sampled_from(list(PROVIDER.operations)),
        st.builds(
            OperationConfig,
            enabled=st.booleans(),
            path=st.none() | st.text(max_size=12) | st.just("/v3/async/x"),
            takes_webhook=st.none() | st.booleans(),
        ),
        max_size=3,
    )
)
def test_any_word_of_the_operator_is_obeyed_or_refused(said: dict[str, OperationConfig]) -> None:
    before = dict(PROVIDER.operations)
    try:
        configured = PROVIDER.configured(said)
    except ValueError as error:
        assert str(error)
    else:
        assert all(name == shown.name and shown.path.startswith("/") for name, shown in configured.operations.items())
    assert dict(PROVIDER.operations) == before


def test_reading_for_an_operation_that_is_gone_still_names_it() -> None:
    outcome = PROVIDER.read_submit("Gone & forgotten", HttpReply(410, {}, b""))
    assert isinstance(outcome, Rejected)
    assert "OPERATIONS__GONE___FORGOTTEN__PATH" in outcome.error.hint
