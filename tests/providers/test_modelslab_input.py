"""ModelsLab's bodies as wholes: what is taken out of them, and that the rest stays as it is."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.providers.contract import CheckedInput, CustomStorage, Mistake, OperationConfig, TestMode
from service.providers.modelslab import PROVIDER, schema

from .arbitrary import QUICK, json_values
from .modelslab_bodies import ALL, accept, check, make_input

HOOK = "https://consumer.example/hooks?token=secret"
TEST_MODE = {"enabled": True, "return_task_status": "TASK_STATUS_SUCCEED"}
OURS = {"webhook", "track_id", "extra"}


@pytest.mark.parametrize("operation", ALL)
def test_what_is_ours_is_taken_out_of_the_body(operation: str) -> None:
    storage = {"aws_s3": {"region": "eu-central-1", "bucket": "acme-renders", "path": "/"}}
    extra = {"webhook": {"url": HOOK, "test_mode": TEST_MODE}, "custom_storage": storage}
    body = {"extra": extra, **make_input(operation, webhook=HOOK, track_id="order-42", samples="3")}
    checked = accept(operation, body)
    assert checked == CheckedInput(
        body={name: value for name, value in body.items() if name not in OURS},
        images=3,
        webhook=HOOK,
        test_mode=TestMode("TASK_STATUS_SUCCEED"),
        storage=CustomStorage("eu-central-1", "acme-renders", "/", False),
        track_id="order-42",
    )


@pytest.mark.parametrize("extra", [{}, {"webhook": {"url": HOOK}}, {"custom_storage": {}}])
def test_extra_is_never_sent_even_when_it_says_nothing(extra: Any) -> None:
    assert "extra" not in accept("text2img", make_input(extra=extra)).body


def test_disabled_test_mode_is_no_test_but_is_remembered() -> None:
    mode = {"enabled": False, "return_task_status": "TASK_STATUS_FAILED"}
    checked = accept("text2img", make_input(extra={"webhook": {"url": HOOK, "test_mode": mode}}))
    assert (checked.test_mode, checked.test_mode_disabled) == (None, True)


def test_two_webhooks_in_one_body_are_a_contradiction() -> None:
    other = "https://other.example/hooks?token=secret"
    (mistake,) = check("text2img", make_input(webhook=HOOK, extra={"webhook": {"url": other}}))
    assert mistake.path == "input.webhook"
    assert "secret" not in repr(mistake)


def test_webhook_inside_extra_is_as_good_as_the_one_beside_it() -> None:
    assert accept("text2img", make_input(extra={"webhook": {"url": HOOK}})).webhook == HOOK
    assert accept("text2img", make_input(webhook=HOOK)).webhook == HOOK


@pytest.mark.parametrize(("said", "kept"), [(None, None), ("", None), ("order-42", "order-42"), (42, "42"), (0, "0")])
def test_track_id_is_the_customers_and_kept_as_text(said: Any, kept: str | None) -> None:
    assert accept("text2img", make_input(track_id=said)).track_id == kept


@pytest.mark.parametrize(("said", "images"), [(1, 1), ("1", 1), (4, 4), ("4", 4)])
def test_samples_are_counted(said: Any, images: int) -> None:
    assert accept("text2img", make_input(samples=said)).images == images


def test_one_sample_is_the_default() -> None:
    body = make_input()
    del body["samples"]
    assert accept("text2img", body).images == 1


@pytest.mark.parametrize("name", ["key", "api_key"])
def test_key_is_dropped_whatever_it_is(name: str) -> None:
    assert accept("text2img", {name: {"a": "\0"}, **make_input()}) == accept("text2img", make_input())


def test_every_mistake_is_told_at_once() -> None:
    body = make_input(
        "inpaint",
        width="2048",
        steps=7,
        tomesd=True,
        lora_model="a,b,c",
        lora_strength="0.5,1",
        init_image="x",
        widht=1,
        extra={"webhook": {}},
        seed=float("nan"),
        scheduler="Euler",
    )
    paths = [
        "width",
        "steps",
        "tomesd",
        "lora_strength",
        "init_image",
        "widht",
        "extra.webhook.url",
        "seed",
        "scheduler",
    ]
    assert {mistake.path for mistake in check("inpaint", body)} == {f"input.{path}" for path in paths}


def test_flood_of_mistakes_is_cut() -> None:
    assert len(check("text2img", make_input(**{f"x{i}": i for i in range(500)}))) == 101
    assert [mistake.path for mistake in check("text2img", {"x": [0] * 10_001})] == ["input"]


def test_unknown_operation_is_a_mistake() -> None:
    (mistake,) = check("upscale", make_input())
    assert (mistake.path, mistake.got) == ("operation", None)


@pytest.mark.parametrize("operation", ALL)
def test_example_is_one_that_may_be_sent(operation: str) -> None:
    example = PROVIDER.operations[operation].example
    assert accept(operation, example).body == {name: value for name, value in example.items() if name not in OURS}


# --- Operations that only the settings know -------------------------------------------------------------------------

ADDED = PROVIDER.configured({"realtime": OperationConfig(path="/api/v1/enterprise/realtime/text2img")})


def test_added_operation_takes_any_object_and_real_booleans() -> None:
    given = {
        "key": "sk_customers-own",
        "prompt": "a lighthouse",
        "samples": "2",
        "enhance_prompt": True,
        "any": [{"a": 1}],
    }
    checked = ADDED.check_input("realtime", {**given, "webhook": HOOK, "track_id": 7, "extra": {}})
    assert isinstance(checked, CheckedInput)
    assert checked.body == {name: value for name, value in given.items() if name != "key"}
    assert (checked.images, checked.webhook, checked.track_id) == (2, HOOK, "7")


@pytest.mark.parametrize(
    ("samples", "images"),
    [(1, 1), ("64", 64), (64, 64), (65, 1), (0, 1), (-3, 1), ("many", 1), (None, 1), (True, 1), (2.5, 1), ([], 1)],
)
def test_added_operation_counts_what_looks_like_samples(samples: Any, images: int) -> None:
    checked = ADDED.check_input("realtime", {"samples": samples})
    assert isinstance(checked, CheckedInput)
    assert checked.images == images


@pytest.mark.parametrize(
    "given_input", [None, 5, "text", [], {"extra": 1}, {"webhook": "x"}, {"a": "\0"}, {"track_id": 1.5}]
)
def test_added_operation_still_needs_an_object_that_can_be_stored(given_input: Any) -> None:
    mistakes = ADDED.check_input("realtime", given_input)
    assert isinstance(mistakes, list)
    assert all(mistake.path.startswith("input") for mistake in mistakes)


def test_added_operation_does_not_take_two_webhooks_either() -> None:
    body = {"webhook": HOOK, "extra": {"webhook": {"url": "https://other.example/"}}}
    assert ADDED.check_input("realtime", body) == [
        Mistake("input.webhook", "is not the URL that `extra.webhook.url` has: give one of them")
    ]


@QUICK
@given(value=json_values(["samples", "webhook", "track_id", "extra", "key", "prompt"]))
def test_added_operation_answers_to_any_json(value: Any) -> None:
    checked = ADDED.check_input("realtime", value)
    if isinstance(checked, CheckedInput):
        assert not OURS & set(checked.body)
        assert 1 <= checked.images <= 64
    else:
        assert checked


# --- Valid bodies, any of them --------------------------------------------------------------------------------------

printable = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=30)
yes_no = st.sampled_from(["yes", "no"])


def number_or_text(least: int, most: int) -> st.SearchStrategy[Any]:
    return st.integers(least, most) | st.integers(least, most).map(str)


valid = st.fixed_dictionaries(
    {"model_id": printable, "prompt": printable},
    optional={
        "negative_prompt": st.none() | st.just("") | printable,
        "width": number_or_text(64, 1024),
        "height": number_or_text(64, 1024),
        "samples": number_or_text(1, 4),
        "num_inference_steps": st.sampled_from([20, 21, 30, 31, 41, "20", "21", "30", "31", "41"]),
        "safety_checker": yes_no,
        "guidance_scale": st.floats(1, 20) | number_or_text(1, 20),
        "scheduler": st.sampled_from(get_args(schema.Scheduler)),
        "seed": st.none() | number_or_text(0, 2**32),
        "lora_model": st.none() | st.lists(st.sampled_from(["a", "b-c"]), max_size=3).map(",".join),
        "clip_skip": number_or_text(1, 8),
        "base64": yes_no,
    },
)


@QUICK
@given(body=valid)
def test_valid_body_is_accepted_word_for_word(body: dict[str, Any]) -> None:
    before = json.dumps(body)
    assert json.dumps(accept("text2img", body).body) == before
