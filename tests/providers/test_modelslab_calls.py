"""Requests to ModelsLab, as it gets them, and the mocks that it gets none for."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.providers.contract import (
    Failed,
    OperationConfig,
    Ours,
    OutputKind,
    ProviderAccess,
    Succeeded,
    TaskStatus,
    TestMode,
)
from service.providers.modelslab import PROVIDER

from .arbitrary import QUICK
from .modelslab_bodies import ALL, accept, make_input

ACCESS = ProviderAccess("https://modelslab.com/", "our-own-key")
CALLBACK = "https://relay.example/v1/callbacks/modelslab/token"
OURS = Ours(CALLBACK, "job_01-1")
BODY = accept("text2img", make_input()).body


def sent(call: Any) -> Any:
    return json.loads(call.body)


@pytest.mark.parametrize("operation", ALL)
def test_submit_posts_the_body_with_key_callback_and_reference(operation: str) -> None:
    body = accept(operation, make_input(operation, webhook="https://consumer.example/", track_id="order-42")).body
    call = PROVIDER.submit_call(ACCESS, operation, body, OURS)
    assert (call.method, call.url) == ("POST", f"https://modelslab.com/api/v1/enterprise/{operation}")
    assert call.headers["Content-Type"] == "application/json"
    assert sent(call) == {"key": "our-own-key", **body, "webhook": CALLBACK, "track_id": "job_01-1"}


def test_key_is_in_the_body_and_nowhere_else() -> None:
    for call in (PROVIDER.submit_call(ACCESS, "inpaint", BODY, OURS), PROVIDER.look_up_call(ACCESS, "inpaint", "1")):
        assert sent(call)["key"] == "our-own-key"
        assert "our-own-key" not in call.url + repr(dict(call.headers)) + repr(call)


def test_submit_leaves_the_body_that_it_is_given_alone() -> None:
    before = json.dumps(BODY)
    PROVIDER.submit_call(ACCESS, "text2img", BODY, OURS)
    assert json.dumps(BODY) == before


def test_submit_without_callback_names_none_and_keeps_the_words() -> None:
    body = {**BODY, "prompt": 'größe 🙂 \n \\ "', "seed": 2**63 - 1}
    call = PROVIDER.submit_call(ACCESS, "text2img", body, Ours())
    assert json.dumps(sent(call)) == json.dumps({"key": "our-own-key", **body})


def test_operation_that_takes_no_webhook_is_sent_none() -> None:
    provider = PROVIDER.configured({"inpaint": OperationConfig(takes_webhook=False)})
    assert "webhook" not in sent(provider.submit_call(ACCESS, "inpaint", BODY, OURS))


@pytest.mark.parametrize("status", ["TASK_STATUS_SUCCEED", "TASK_STATUS_FAILED"])
def test_test_job_is_never_built_for_it_would_be_paid(status: TaskStatus) -> None:
    with pytest.raises(ValueError, match="no test mode"):
        PROVIDER.submit_call(ACCESS, "inpaint", BODY, Ours(CALLBACK, "job_01-1", TestMode(status)))


# --- Both dialects of fetch -----------------------------------------------------------------------------------------

DIALECTS = [
    ("/api/v1/enterprise/inpaint", "/api/v1/enterprise/fetch", True),
    ("/api/v1/enterprise/text2img/", "/api/v1/enterprise/fetch", True),
    ("/api/v1/enterprise/realtime/text2img", "/api/v1/enterprise/realtime/fetch/a%2Bb%3Dc", False),
    ("/api/v1/enterprise/image_editing/outpaint", "/api/v1/enterprise/image_editing/fetch/a%2Bb%3Dc", False),
    ("/api/v6/images/text2img", "/api/v6/images/fetch", True),
    ("/api/v6/realtime/text2img", "/api/v6/realtime/fetch/a%2Bb%3Dc", False),
    ("/relay/inpaint", "/relay/fetch", True),
]


@pytest.mark.parametrize(("path", "fetch", "in_body"), DIALECTS)
def test_look_up_speaks_the_dialect_of_the_operations_path(path: str, fetch: str, in_body: bool) -> None:
    provider = PROVIDER.configured({"inpaint": OperationConfig(path=path)})
    call = provider.look_up_call(ACCESS, "inpaint", "a+b=c")
    assert (call.method, call.url) == ("POST", "https://modelslab.com" + fetch)
    assert sent(call) == {"key": "our-own-key"} | ({"request_id": "a+b=c"} if in_body else {})


def test_look_up_of_an_operation_that_is_gone_speaks_the_default_dialect() -> None:
    provider = PROVIDER.configured({"inpaint": OperationConfig(enabled=False)})
    call = provider.look_up_call(ACCESS, "inpaint", "13446970")
    assert call.url == "https://modelslab.com/api/v1/enterprise/fetch"
    assert sent(call) == {"key": "our-own-key", "request_id": "13446970"}


# --- What the operator says -----------------------------------------------------------------------------------------


def test_operations_are_those_of_the_documentation() -> None:
    shown = {
        o.name: (o.path, o.answers, o.takes_webhook, o.native_test_mode, o.outputs)
        for o in PROVIDER.operations.values()
    }
    assert shown == {
        name: (f"/api/v1/enterprise/{name}", "task", True, False, ("image",))
        for name in ("text2img", "img2img", "inpaint")
    }
    assert PROVIDER.echoes_callback_url is False


def test_moved_operation_keeps_its_shape() -> None:
    provider = PROVIDER.configured({"TEXT2IMG": OperationConfig(path="/api/v6/images/text2img")})
    assert provider.operations["text2img"].path == "/api/v6/images/text2img"
    assert provider.check_input("text2img", {}) == PROVIDER.check_input("text2img", {})
    assert provider.submit_call(ACCESS, "text2img", BODY, OURS).url == "https://modelslab.com/api/v6/images/text2img"


def test_added_operation_is_submitted_to_its_path_with_what_was_said_about_it() -> None:
    path = "/api/v1/enterprise/video/text2video"
    provider = PROVIDER.configured({"TEXT2VIDEO": OperationConfig(path=path, takes_webhook=False, outputs=("video",))})
    operation = provider.operations["text2video"]
    assert (operation.path, operation.takes_webhook, operation.outputs) == (path, False, ("video",))
    assert operation.example is None
    assert sent(provider.submit_call(ACCESS, "text2video", {"instant_response": True}, OURS)) == {
        "key": "our-own-key",
        "instant_response": True,
        "track_id": "job_01-1",
    }
    assert set(PROVIDER.operations) == set(ALL)


@pytest.mark.parametrize("name", ["über", "a b", "x" * 65, "-x"])
def test_added_operation_needs_a_plain_name(name: str) -> None:
    with pytest.raises(ValueError, match="its name must be"):
        PROVIDER.configured({name: OperationConfig(path="/api/v1/enterprise/video/y")})


# --- Mocks ----------------------------------------------------------------------------------------------------------


def mock(status: TaskStatus, reference: str = "job_01-1", provider: Any = PROVIDER, **body: Any) -> Any:
    return provider.mock_callback("text2img", {**BODY, **body}, Ours(CALLBACK, reference, TestMode(status)))


@pytest.mark.parametrize("samples", [1, "3", 4])
def test_mock_of_a_success_has_the_documented_shape_and_as_many_outputs_as_asked_for(samples: Any) -> None:
    mocked = mock("TASK_STATUS_SUCCEED", samples=samples)
    said = json.loads(mocked.body)
    place = "https://pub-3626123a908346a7a8be8d9295f44e26.r2.dev/generations/test_data"
    assert set(said) == {"status", "id", "output", "generationTime", "track_id", "meta"}
    assert (said["status"], said["track_id"]) == ("success", "job_01-1")
    assert said["output"] == [f"{place}-{number}.png" for number in range(int(samples))]
    assert said["meta"]["prompt"] == BODY["prompt"]
    assert (type(said["id"]), str(said["id"])) == (int, mocked.task_id)


def test_mock_of_a_failure_says_that_it_is_one() -> None:
    said = json.loads(mock("TASK_STATUS_FAILED").body)
    assert (said["status"], said["track_id"]) == ("failed", "job_01-1")
    assert "mock" in said["message"]
    assert "output" not in said


def test_mock_carries_neither_key_nor_callback_nor_megabytes() -> None:
    mocked = mock("TASK_STATUS_SUCCEED", prompt="x" * 10**6, init_image="A" * 10**6, width={"key": "our-own-key"})
    assert len(mocked.body) < 2000
    assert b"key" not in mocked.body
    assert CALLBACK.encode() not in mocked.body
    assert "test_data" not in repr(mocked)


def test_job_that_is_no_test_has_no_mock() -> None:
    with pytest.raises(ValueError, match="test job"):
        PROVIDER.mock_callback("text2img", BODY, OURS)


def test_mock_of_a_video_is_a_video() -> None:
    outputs: tuple[OutputKind, ...] = ("video",)
    provider = PROVIDER.configured({"text2img": OperationConfig(outputs=outputs)})
    mocked = mock("TASK_STATUS_SUCCEED", provider=provider)
    state = PROVIDER.read_callback(mocked.body).state
    assert isinstance(state, Succeeded)
    assert [source.kind for source in state.sources] == ["video"]


@QUICK
@given(reference=st.text(st.characters(exclude_categories=["Cs"]), min_size=1), failed=st.booleans())
def test_mock_reads_as_the_callback_of_its_own_task(reference: str, failed: bool) -> None:
    mocked = mock("TASK_STATUS_FAILED" if failed else "TASK_STATUS_SUCCEED", reference)
    hint = PROVIDER.read_callback(mocked.body)
    assert hint.known_event
    assert hint.task_id == mocked.task_id
    assert 0 < int(mocked.task_id) < 2**53
    assert isinstance(hint.state, Failed if failed else Succeeded)


def test_attempts_have_mocks_with_ids_of_their_own() -> None:
    ids = {mock("TASK_STATUS_SUCCEED", f"job_01-{attempt}").task_id for attempt in range(100)}
    assert len(ids) == 100
    assert mock("TASK_STATUS_SUCCEED") == mock("TASK_STATUS_SUCCEED")
