"""Requests to Novita, as it gets them."""

from __future__ import annotations

import json

import pytest

from service.providers.contract import OperationConfig, Ours, ProviderAccess, TestMode
from service.providers.novita import PROVIDER

from .bodies import make_input

ACCESS = ProviderAccess("https://api.novita.ai/", "sk_our-own-key")
CALLBACK = "https://relay.example/v1/callbacks/novita/token"


@pytest.mark.parametrize("operation", ["txt2img", "img2img", "inpainting", "upscale"])
def test_submit_posts_json_to_the_operation_with_a_bearer_key(operation: str) -> None:
    call = PROVIDER.submit_call(ACCESS, operation, make_input(operation), Ours(CALLBACK))
    assert (call.method, call.url) == ("POST", f"https://api.novita.ai/v3/async/{operation}")
    assert call.headers["Authorization"] == "Bearer sk_our-own-key"
    assert call.headers["Content-Type"] == "application/json"
    assert call.body is not None
    assert json.loads(call.body) == {**make_input(operation), "extra": {"webhook": {"url": CALLBACK}}}


def test_submit_keeps_what_is_in_extra_and_leaves_the_body_alone() -> None:
    body = make_input(extra={"response_image_type": "jpeg"})
    call = PROVIDER.submit_call(ACCESS, "txt2img", body, Ours(CALLBACK))
    assert json.loads(call.body or b"")["extra"] == {"response_image_type": "jpeg", "webhook": {"url": CALLBACK}}
    assert body == make_input(extra={"response_image_type": "jpeg"})


@pytest.mark.parametrize("status", ["TASK_STATUS_SUCCEED", "TASK_STATUS_FAILED"])
def test_test_job_asks_for_a_mock_event(status: str) -> None:
    call = PROVIDER.submit_call(ACCESS, "txt2img", make_input(), Ours(CALLBACK, test_mode=TestMode(status)))  # type: ignore[arg-type]
    assert json.loads(call.body or b"")["extra"]["webhook"] == {
        "url": CALLBACK,
        "test_mode": {"enabled": True, "return_task_status": status},
    }


def test_test_job_without_callback_is_never_built_for_it_would_be_paid() -> None:
    with pytest.raises(ValueError, match="callback URL"):
        PROVIDER.submit_call(ACCESS, "txt2img", make_input(), Ours(test_mode=TestMode("TASK_STATUS_SUCCEED")))


def test_submit_without_callback_sends_the_body_word_for_word() -> None:
    body = {"extra": {}, **make_input(prompt='größe 🙂 \n \\ "', guidance_scale=7.5, seed=2**63 - 1)}
    call = PROVIDER.submit_call(ACCESS, "txt2img", body, Ours())
    assert json.dumps(json.loads(call.body or b"")) == json.dumps(body)


def test_look_up_gets_the_task_by_its_quoted_id() -> None:
    call = PROVIDER.look_up_call(ACCESS, "txt2img", "73fab7c0+x=1%")
    assert (call.method, call.body) == ("GET", None)
    assert call.url == "https://api.novita.ai/v3/async/task-result?task_id=73fab7c0%2Bx%3D1%25"
    assert call.headers["Authorization"] == "Bearer sk_our-own-key"


def test_null_as_extra_still_gets_the_callback() -> None:
    added = PROVIDER.configured({"hooked": OperationConfig(path="/v3/async/hooked", takes_webhook=True)})
    call = added.submit_call(ACCESS, "hooked", {"extra": None}, Ours(CALLBACK))
    assert json.loads(call.body or b"") == {"extra": {"webhook": {"url": CALLBACK}}}


def test_documented_tasks_have_a_test_mode_of_their_own_and_seedream_has_none() -> None:
    assert {name: shown.native_test_mode for name, shown in PROVIDER.operations.items()} == {
        "txt2img": True,
        "img2img": True,
        "inpainting": True,
        "upscale": True,
        "seedream-4.0": False,
        "seedream-4.5": False,
    }
