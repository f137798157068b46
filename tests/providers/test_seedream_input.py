"""Seedream's two dialects: every field, on both sides of its limits, and what is taken out of a body."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from config.providers import NovitaSettings
from service.providers.contract import CheckedInput, CustomStorage, Mistake, Ours, ProviderAccess, Succeeded, TestMode
from service.providers.novita import PROVIDER

from .arbitrary import QUICK, json_values, swapped
from .bodies import STORAGE, accept, check

V40, V45 = "seedream-4.0", "seedream-4.5"
BOTH = (V40, V45)
FIELD = {V40: "images", V45: "image"}
MOST = {V40: 10, V45: 14}
URL = "https://images.example/harbour.png"
ACCESS = ProviderAccess("https://api.novita.ai", "sk_our-own-key")
HOOK = "https://consumer.example/hooks?token=secret"


def make(**fields: Any) -> dict[str, Any]:
    return {"prompt": "a lighthouse at dawn", **fields}


def batch(operation: str, most: Any = None, references: int = 0, mode: str = "auto") -> dict[str, Any]:
    """Return a body that asks for a sequence, in the words of the operation."""
    body = make(sequential_image_generation=mode)
    if references:
        body[FIELD[operation]] = [URL] * references
    if most is not None:
        body.update({"max_images": most} if operation == V40 else nested(most))
    return body


def nested(most: Any) -> dict[str, Any]:
    return {"sequential_image_generation_options": {"max_images": most}}


def test_operations_are_as_documented() -> None:
    for name in BOTH:
        operation = PROVIDER.operations[name]
        assert operation.path == f"/v3/{name}"
        assert operation.answers == "result"
        assert not operation.takes_webhook
        assert not operation.native_test_mode
        assert operation.outputs == ("image",)


def test_call_may_take_as_long_as_clients_wait_for_one() -> None:
    assert NovitaSettings().call_timeout_seconds >= 240


def test_schema_shows_the_documented_defaults() -> None:
    fields = {name: PROVIDER.operations[name].input_schema["properties"] for name in BOTH}
    assert [fields[name]["size"]["default"] for name in BOTH] == ["2048x2048", "2048x2048"]
    assert [fields[name]["watermark"]["default"] for name in BOTH] == [True, True]
    assert [fields[name]["sequential_image_generation"]["default"] for name in BOTH] == ["disabled", "disabled"]
    assert fields[V40]["max_images"]["default"] == 15
    assert '"max_images": {"default": 15,' in json.dumps(PROVIDER.operations[V45].input_schema, sort_keys=True)


@pytest.mark.parametrize("operation", BOTH)
def test_default_is_left_to_the_provider(operation: str) -> None:
    for body in (make(), batch(operation)):
        assert accept(operation, body).body == body


@pytest.mark.parametrize("operation", BOTH)
def test_example_passes_the_check_and_the_published_schema(operation: str) -> None:
    known = PROVIDER.operations[operation]
    assert accept(operation, known.example) == CheckedInput(known.example, images=3)
    Draft202012Validator(known.input_schema).validate(known.example)


RECOMMENDED = ["2048x2048", "2304x1728", "1728x2304", "2560x1440", "1440x2560", "2496x1664", "1664x2496", "3024x1296"]
SIZES = {
    V40: ["1K", "2K", "4K", *RECOMMENDED, "1024x1024", "4096x4096", "256x4096", "4096x256", "16384x1024"],
    V45: ["2K", "4K", *RECOMMENDED, "1920x1920", "4096x4096", "480x7680", "7680x480", "1024x16384"],
}


@pytest.mark.parametrize(("operation", "size"), [(name, size) for name in BOTH for size in SIZES[name]])
def test_documented_size_is_accepted(operation: str, size: str) -> None:
    body = make(size=size)
    assert accept(operation, body).body == body
    Draft202012Validator(PROVIDER.operations[operation].input_schema).validate(body)


SHAPE_40 = "must be 1K, 2K, 4K, or WIDTHxHEIGHT in pixels, such as 2048x2048"
SHAPE_45 = "must be 2K, 4K, or WIDTHxHEIGHT in pixels, such as 2048x2048"
PIXELS_40 = "must have 1048576 to 16777216 pixels in all, but has "
PIXELS_45 = "must have 3686400 to 16777216 pixels in all, but has "
RATIO = "must have an aspect ratio between 1/16 and 16"
NO_SIZE = [
    *["", "2k", "3K", "K", "8K", "2048", "2048*2048", "2048X2048", "2048×2048", "2048x", "x2048", " 2048x2048"],
    *["2048x2048 ", "2048x2048\n", "2048x2048x1", "-1x2048", "0x2048", "02048x2048", "2e3x2048", "2048.0x2048"],
    *["٢٠٤٨x2048", "1000000x2", "{prompt}"],
]
WRONG_SIZES = [
    *[(V40, size, SHAPE_40) for size in NO_SIZE],
    *[(V45, size, SHAPE_45) for size in [*NO_SIZE, "1K"]],
    (V40, "1024x1023", PIXELS_40 + "1047552"),
    (V40, "1023x1024", PIXELS_40 + "1047552"),
    (V40, "4096x4097", PIXELS_40 + "16781312"),
    (V45, "1920x1919", PIXELS_45 + "3684480"),
    (V45, "1024x1024", PIXELS_45 + "1048576"),
    (V45, "4097x4096", PIXELS_45 + "16781312"),
    (V40, "255x4096", f"{PIXELS_40}1044480 and {RATIO}"),
    (V40, "256x4097", RATIO),
    (V40, "4097x256", RATIO),
    (V45, "480x7681", RATIO),
    (V45, "7681x480", RATIO),
    (V45, "999999x999999", PIXELS_45 + "999998000001"),
]


@pytest.mark.parametrize(("operation", "size", "rule"), WRONG_SIZES)
def test_other_size_is_refused(operation: str, size: str, rule: str) -> None:
    (mistake,) = check(operation, make(size=size))
    assert (mistake.path, mistake.rule) == ("input.size", rule)


ALLOWED: list[tuple[str, dict[str, Any]]] = [
    *[(name, {"prompt": prompt}) for name in BOTH for prompt in ("x", "ä🙂", "word " * 2000)],
    *[(name, {"sequential_image_generation": mode}) for name in BOTH for mode in ("auto", "disabled")],
    *[(name, {"watermark": said}) for name in BOTH for said in (True, False)],
    *[(name, {FIELD[name]: [URL] * count}) for name in BOTH for count in (1, MOST[name])],
    (V40, {"images": []}),
    (V40, {"max_images": 1}),
    (V40, {"max_images": 15}),
    (V45, nested(1)),
    (V45, nested(15)),
    (V45, {"sequential_image_generation_options": {}}),
    (V45, {"optimize_prompt_options": {"mode": "standard"}}),
    (V45, {"optimize_prompt_options": {}}),
]


@pytest.mark.parametrize(("operation", "fields"), ALLOWED)
def test_value_inside_its_limits_is_sent_as_it_is(operation: str, fields: dict[str, Any]) -> None:
    assert accept(operation, make(**fields)).body == make(**fields)


OPTIONS = "sequential_image_generation_options"
REFUSED: list[tuple[str, dict[str, Any], str, str]] = [
    *[(name, {"prompt": ""}, "prompt", "must have at least 1 character") for name in BOTH],
    *[(name, {"prompt": 5}, "prompt", "must be a string") for name in BOTH],
    *[(name, {"prompt": None}, "prompt", "must be a string") for name in BOTH],
    *[(name, {"watermark": 1}, "watermark", "must be true or false") for name in BOTH],
    *[(name, {"watermark": "false"}, "watermark", "must be true or false") for name in BOTH],
    *[(name, {"size": 2048}, "size", "must be a string") for name in BOTH],
    *[(name, {"size": None}, "size", "must be a string") for name in BOTH],
    *[(name, {FIELD[name]: URL}, FIELD[name], "must be a list") for name in BOTH],
    *[(name, {FIELD[name]: None}, FIELD[name], "must be a list") for name in BOTH],
    *[(name, {FIELD[name]: [URL, None]}, f"{FIELD[name]}.1", "must be a string") for name in BOTH],
    (V40, {"images": [URL] * 11}, "images", "must have at most 10 items"),
    (V45, {"image": [URL] * 15}, "image", "must have at most 14 items"),
    (V45, {"image": []}, "image", "must have at least 1 item"),
    (V40, {"max_images": 0}, "max_images", "must be at least 1"),
    (V40, {"max_images": 16}, "max_images", "must be at most 15"),
    (V40, {"max_images": 2.0}, "max_images", "must be an integer"),
    (V40, {"max_images": "2"}, "max_images", "must be an integer"),
    (V40, {"max_images": True}, "max_images", "must be an integer"),
    (V45, nested(0), f"{OPTIONS}.max_images", "must be at least 1"),
    (V45, nested(16), f"{OPTIONS}.max_images", "must be at most 15"),
    (V45, {OPTIONS: 3}, OPTIONS, "must be an object"),
    (V45, {OPTIONS: {"max_image": 3}}, f"{OPTIONS}.max_image", "unknown field; did you mean `max_images`?"),
    (V45, {"optimize_prompt_options": {"mode": "fast"}}, "optimize_prompt_options.mode", "must be one of 'standard'"),
    *[(name, {"model": "seedream-4-0-250828"}, "model", "unknown field") for name in BOTH],
    *[(name, {"watermarks": True}, "watermarks", "unknown field; did you mean `watermark`?") for name in BOTH],
]


@pytest.mark.parametrize(("operation", "fields", "path", "rule"), REFUSED)
def test_value_beyond_its_limits_is_refused(operation: str, fields: dict[str, Any], path: str, rule: str) -> None:
    (mistake,) = check(operation, make(**fields))
    assert (mistake.path, mistake.rule) == (f"input.{path}", rule)


@pytest.mark.parametrize("operation", BOTH)
def test_choice_that_does_not_exist_is_told(operation: str) -> None:
    (mistake,) = check(operation, make(sequential_image_generation="enabled"))
    assert mistake.path == "input.sequential_image_generation"
    assert mistake.rule.startswith("must be one of 'auto' or 'disabled'")


@pytest.mark.parametrize("operation", BOTH)
def test_prompt_is_required(operation: str) -> None:
    assert check(operation, {}) == [Mistake("input.prompt", "required")]


MIXED_UP = [
    (V40, {"image": [URL]}, "image", "`images`"),
    (V40, {"image": URL}, "image", "`images`"),
    (V40, nested(3), OPTIONS, "`max_images`"),
    (V40, {"optimize_prompt_options": {"mode": "standard"}}, "optimize_prompt_options", "seedream-4.5"),
    (V45, {"images": [URL]}, "images", "`image`"),
    (V45, {"max_images": 3}, "max_images", "`sequential_image_generation_options.max_images`"),
]


@pytest.mark.parametrize(("operation", "fields", "path", "right"), MIXED_UP)
def test_word_of_the_other_dialect_is_refused_with_the_right_one(
    operation: str, fields: dict[str, Any], path: str, right: str
) -> None:
    (mistake,) = check(operation, make(**fields))
    assert mistake.path == f"input.{path}"
    assert mistake.rule.startswith("unknown field; ")
    assert right in mistake.rule
    assert "ignore" in mistake.rule


def test_whole_body_of_the_other_dialect_is_refused_with_every_mistake_at_once() -> None:
    for_45 = make(image=[URL], size="8K", sequential_image_generation="auto", **nested(20))
    assert sorted(m.path for m in check(V40, for_45)) == [
        "input.image",
        "input.sequential_image_generation_options",
        "input.size",
    ]
    for_40 = {"images": [URL], "sequential_image_generation": "auto", "max_images": 3, "size": "1K"}
    assert sorted(m.path for m in check(V45, for_40)) == [
        "input.images",
        "input.max_images",
        "input.prompt",
        "input.size",
    ]


PATH = {V40: "input.max_images", V45: f"input.{OPTIONS}.max_images"}


@pytest.mark.parametrize(
    ("operation", "references"),
    [*[(V40, count) for count in (0, 1, 5, 10)], *[(V45, count) for count in (0, 1, 10, 14)]],
)
def test_references_and_images_are_at_most_15_together(operation: str, references: int) -> None:
    left = 15 - references
    assert accept(operation, batch(operation, left, references)).images == left
    if left < 15:
        rule = f"must be at most {left}: references and images together are at most 15"
        assert check(operation, batch(operation, left + 1, references)) == [
            Mistake(PATH[operation], rule, str(left + 1))
        ]


@pytest.mark.parametrize("operation", BOTH)
def test_excess_is_told_beside_other_mistakes(operation: str) -> None:
    mistakes = check(operation, {**batch(operation, 15, 3), "size": "tall"})
    assert {mistake.path for mistake in mistakes} == {"input.size", PATH[operation]}


@pytest.mark.parametrize("operation", BOTH)
def test_too_many_references_are_told_once(operation: str) -> None:
    mistakes = check(operation, batch(operation, 15, 20))
    assert [mistake.path for mistake in mistakes] == [f"input.{FIELD[operation]}"]


@pytest.mark.parametrize("operation", BOTH)
def test_max_images_beyond_any_limit_is_told_once(operation: str) -> None:
    assert check(operation, batch(operation, 16, 3)) == [Mistake(PATH[operation], "must be at most 15", "16")]


COUNTS = [
    ({}, 1),
    ({"mode": "disabled"}, 1),
    ({"mode": "disabled", "most": 15, "references": 10}, 1),
    ({"mode": "auto"}, 15),
    ({"mode": "auto", "references": 1}, 14),
    ({"mode": "auto", "references": 10}, 5),
    ({"mode": "auto", "most": 4}, 4),
    ({"mode": "auto", "most": 4, "references": 10}, 4),
    ({"mode": "auto", "most": 15}, 15),
]


@pytest.mark.parametrize("operation", BOTH)
@pytest.mark.parametrize(("asked", "images"), COUNTS)
def test_most_images_that_may_come_are_counted(operation: str, asked: dict[str, Any], images: int) -> None:
    body = batch(operation, **asked) if asked else make()
    assert accept(operation, body).images == images


@pytest.mark.parametrize("operation", BOTH)
def test_max_images_counts_for_nothing_without_auto(operation: str) -> None:
    body = batch(operation, 7)
    del body["sequential_image_generation"]
    assert accept(operation, body).images == 1


@pytest.mark.parametrize("operation", BOTH)
def test_extra_is_obeyed_and_never_sent(operation: str) -> None:
    mode = {"enabled": True, "return_task_status": "TASK_STATUS_FAILED"}
    extra = {"webhook": {"url": HOOK, "test_mode": mode}, "custom_storage": {"aws_s3": STORAGE}}
    checked = accept(operation, {"extra": extra, **make(size="2K")})
    assert checked.body == make(size="2K")
    assert checked.webhook == HOOK
    assert checked.test_mode == TestMode("TASK_STATUS_FAILED")
    assert checked.storage == CustomStorage("eu-central-1", "acme-renders", "/", False)


@pytest.mark.parametrize("operation", BOTH)
@pytest.mark.parametrize("extra", [{}, {"custom_storage": {}}])
def test_empty_extra_is_not_sent_either(operation: str, extra: dict[str, Any]) -> None:
    assert accept(operation, make(extra=extra)) == CheckedInput(make())


@pytest.mark.parametrize("operation", BOTH)
@pytest.mark.parametrize(
    ("extra", "path", "rule"),
    [
        ({"response_image_type": "png"}, "extra.response_image_type", "unknown field"),
        ({"webhook": {"url": "ftp://x.example"}}, "extra.webhook.url", "must be an http or https URL"),
        (None, "extra", "must be an object"),
    ],
)
def test_extra_that_is_wrong_is_refused(operation: str, extra: Any, path: str, rule: str) -> None:
    assert [(m.path, m.rule) for m in check(operation, make(extra=extra))] == [(f"input.{path}", rule)]


@pytest.mark.parametrize("operation", BOTH)
def test_submit_is_the_body_word_for_word_with_our_key(operation: str) -> None:
    example = PROVIDER.operations[operation].example
    call = PROVIDER.submit_call(ACCESS, operation, example, Ours("https://relay.example/v1/callbacks/x/t", "job_1-1"))
    assert (call.method, call.url) == ("POST", f"https://api.novita.ai/v3/{operation}")
    assert call.headers["Authorization"] == "Bearer sk_our-own-key"
    assert call.headers["Content-Type"] == "application/json"
    assert json.loads(call.body or b"") == example
    assert list(json.loads(call.body or b"")) == list(example)


@pytest.mark.parametrize("operation", BOTH)
@pytest.mark.parametrize("callback_url", [None, "https://relay.example/v1/callbacks/x/t"])
def test_test_job_never_becomes_a_request(operation: str, callback_url: str | None) -> None:
    with pytest.raises(ValueError, match="paid"):
        PROVIDER.submit_call(ACCESS, operation, make(), Ours(callback_url, "job_1-1", TestMode("TASK_STATUS_SUCCEED")))


@pytest.mark.parametrize("operation", BOTH)
def test_mock_of_a_test_job_reads_as_its_callback(operation: str) -> None:
    ours = Ours("https://relay.example/v1/callbacks/x/t", "job_1-1", TestMode("TASK_STATUS_SUCCEED"))
    mock = PROVIDER.mock_callback(operation, batch(operation, 3), ours)
    hint = PROVIDER.read_callback(mock.body)
    assert hint.task_id == mock.task_id
    assert hint.state is not None
    assert isinstance(hint.state, Succeeded)
    assert len(hint.state.sources) == 3


references = st.lists(st.just(URL), min_size=1, max_size=4)
common = {
    "size": st.sampled_from(["2K", "4K", *RECOMMENDED]),
    "sequential_image_generation": st.sampled_from(["auto", "disabled"]),
    "watermark": st.booleans(),
}
most = st.integers(1, 11)
VALID = {
    V40: {**common, "images": references, "max_images": most},
    V45: {**common, "image": references, OPTIONS: st.fixed_dictionaries({}, optional={"max_images": most})},
}


@pytest.mark.parametrize("operation", BOTH)
def test_valid_body_goes_out_unchanged_and_fits_the_schema(operation: str) -> None:
    validator = Draft202012Validator(PROVIDER.operations[operation].input_schema)

    @QUICK
    @given(body=st.fixed_dictionaries({"prompt": st.just("a lighthouse")}, optional=VALID[operation]))
    def go(body: dict[str, Any]) -> None:
        checked = accept(operation, body)
        validator.validate(body)
        assert checked.body == body
        assert 1 <= checked.images <= 15
        assert json.loads(PROVIDER.submit_call(ACCESS, operation, checked.body, Ours()).body or b"") == body

    go()


@pytest.mark.parametrize("operation", BOTH)
def test_any_json_is_checked_without_an_exception(operation: str) -> None:
    names = [*PROVIDER.operations[V40].example, *PROVIDER.operations[V45].example, "extra", "max_images", "mode"]
    values = json_values(names)

    @QUICK
    @given(value=values | swapped(batch(operation, 3, 2), values))
    def go(value: Any) -> None:
        checked = PROVIDER.check_input(operation, value)
        if isinstance(checked, CheckedInput):
            assert 1 <= checked.images <= 15
            assert "extra" not in checked.body
        else:
            assert checked
            assert all(mistake.path.split(".")[0] == "input" for mistake in checked)

    go()
