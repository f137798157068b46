"""The mocks we send ourselves for Novita's operations: the documented event, read by our own reader."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given

from service.providers.contract import (
    CallbackHint,
    Failed,
    OperationConfig,
    Ours,
    OutputKind,
    Source,
    Succeeded,
    TestMode,
)
from service.providers.novita import PROVIDER

from .arbitrary import QUICK, json_values
from .bodies import make_input
from .recorded import SAMPLES

CALLBACK = "https://relay.example/v1/callbacks/novita/token"
SUCCEED, FAIL = TestMode("TASK_STATUS_SUCCEED"), TestMode("TASK_STATUS_FAILED")
IMAGE = "https://faas-output-image.s3.ap-southeast-1.amazonaws.com/test_data/image_"


def event(operation: str, body: dict[str, Any], mode: TestMode = SUCCEED, callback: str | None = CALLBACK) -> Any:
    return json.loads(PROVIDER.mock_callback(operation, body, Ours(callback, "job_01-1", mode)).body)


def test_mock_has_the_shape_of_the_documented_event() -> None:
    documented = json.loads((SAMPLES / "novita" / "callback-succeeded-mock.json").read_text())["body"]
    mock = event("txt2img", make_input())
    assert shape_of(mock) == shape_of(documented)
    assert mock["payload"]["task"]["task_type"] == "TXT_TO_IMG"
    assert mock["payload"]["extra"] == {"enable_nsfw_detection": False, "webhook": {"url": CALLBACK}}


def shape_of(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: shape_of(part) for name, part in value.items()}
    return [shape_of(part) for part in value] if isinstance(value, list) else type(value)


def test_success_lists_as_many_images_as_were_asked_for() -> None:
    mock = PROVIDER.mock_callback("txt2img", make_input(image_num=3), Ours(CALLBACK, "job_01-1", SUCCEED))
    assert UUID(mock.task_id).version == 5
    sources = tuple(Source(n - 1, "image", f"{IMAGE}0{n}.jpeg", 3600, "jpeg") for n in (1, 2, 3))
    assert PROVIDER.read_callback(mock.body) == CallbackHint(
        True, mock.task_id, Succeeded("TASK_STATUS_SUCCEED", sources)
    )


def test_seedreams_mock_lists_images_too() -> None:
    body = {"prompt": "a lighthouse at dawn", "sequential_image_generation": "auto", "max_images": 12}
    listed = event("seedream-4.0", body)["payload"]["images"]
    assert [image["image_url"] for image in listed] == [f"{IMAGE}{n:02}.jpeg" for n in range(1, 13)]


@pytest.mark.parametrize("outputs", [("video",), ("audio",), ("image", "audio"), ("image", "video", "audio")])
def test_mock_makes_what_the_operation_makes(outputs: tuple[OutputKind, ...]) -> None:
    provider = PROVIDER.configured({"new": OperationConfig(path="/v3/async/new", outputs=outputs)})
    mock = provider.mock_callback("new", {"request": {"n": 2}}, Ours(CALLBACK, "job_01-1", SUCCEED))
    state = provider.read_callback(mock.body).state
    assert isinstance(state, Succeeded)
    assert sorted(source.kind for source in state.sources) == sorted([*outputs, *outputs])
    assert all(source.ttl_seconds == 3600 for source in state.sources)


def test_failure_says_that_it_is_a_mock_and_lists_nothing() -> None:
    mock = event("upscale", make_input("upscale"), FAIL)
    assert [mock["payload"][kind] for kind in ("images", "videos", "audios")] == [[], [], []]
    state = PROVIDER.read_callback(json.dumps(mock).encode()).state
    assert isinstance(state, Failed)
    assert state.provider_status == "TASK_STATUS_FAILED"
    assert state.error.provider is not None
    assert state.error.provider.message == "This is a mock: the job is a test that asks to fail. Nothing ran."


def test_mock_without_callback_echoes_none() -> None:
    assert "webhook" not in event("txt2img", make_input(), callback=None)["payload"]["extra"]


def test_mock_echoes_that_detection_was_asked_for() -> None:
    body = make_input(extra={"enable_nsfw_detection": True})
    assert event("txt2img", body)["payload"]["extra"]["enable_nsfw_detection"] is True


def test_job_that_is_no_test_has_no_mock() -> None:
    with pytest.raises(ValueError, match="test job"):
        PROVIDER.mock_callback("txt2img", make_input(), Ours(CALLBACK, "job_01-1"))


@QUICK
@given(value=json_values(["request", "image_num", "extra", "enable_nsfw_detection"]))
def test_any_body_of_an_added_operation_has_a_mock(value: Any) -> None:
    provider = PROVIDER.configured({"new": OperationConfig(path="/v3/async/new")})
    body = value if isinstance(value, dict) else {"value": value}
    mock = provider.mock_callback("new", body, Ours(CALLBACK, "job_01-1", SUCCEED))
    assert isinstance(provider.read_callback(mock.body).state, Succeeded)
