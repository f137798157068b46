"""Novita's bodies as wholes: what is taken out of them, how mistakes are told, and that valid ones stay as they are."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.providers.contract import CheckedInput, CustomStorage, Mistake, TestMode
from service.providers.novita import PROVIDER
from service.providers.novita.tasks import choices

from .arbitrary import QUICK
from .bodies import PICTURE, STORAGE, accept, check, draw_picture, encode, make_input

EACH = ("txt2img", "img2img", "inpainting", "upscale")
HOOK = "https://consumer.example/hooks?token=secret"


EXTRAS_ALLOWED = [
    {},
    {"response_image_type": "png"},
    {"response_image_type": "webp"},
    {"response_image_type": "jpeg"},
    {"enterprise_plan": {"enabled": True}},
    {"enterprise_plan": {}},
    {"enable_nsfw_detection": True, "nsfw_detection_level": 0},
    {"enable_nsfw_detection": False, "nsfw_detection_level": 2},
]


@pytest.mark.parametrize("operation", EACH)
@pytest.mark.parametrize("extra", EXTRAS_ALLOWED)
def test_extra_that_is_the_providers_stays(operation: str, extra: dict[str, Any]) -> None:
    body = make_input(operation, extra)
    assert accept(operation, body) == CheckedInput(body)


TEST_MODE = {"enabled": True, "return_task_status": "TASK_STATUS_SUCCEED"}
EXTRAS_REFUSED = [
    ({"response_image_type": "gif"}, "response_image_type", "must be one of 'png', 'webp' or 'jpeg'"),
    ({"nsfw_detection_level": 3}, "nsfw_detection_level", "must be at most 2"),
    ({"nsfw_detection_level": -1}, "nsfw_detection_level", "must be at least 0"),
    ({"nsfw_detection_level": True}, "nsfw_detection_level", "must be an integer"),
    ({"enable_nsfw_detection": 1}, "enable_nsfw_detection", "must be true or false"),
    ({"enterprise_plan": {"enabled": "true"}}, "enterprise_plan.enabled", "must be true or false"),
    ({"webhook": {}}, "webhook.url", "required"),
    ({"webhook": HOOK}, "webhook", "must be an object"),
    ({"webhook": {"url": "ftp://x.example"}}, "webhook.url", "must be an http or https URL"),
    ({"webhook": {"url": ""}}, "webhook.url", "must be an http or https URL"),
    ({"webhook": {"url": "https://"}}, "webhook.url", "must be an http or https URL"),
    ({"webhook": {"url": "https://a b.example/"}}, "webhook.url", "must be an http or https URL"),
    ({"webhook": {"url": "https://[::1"}}, "webhook.url", "must be an http or https URL"),
    ({"webhook": {"url": "https://x.example:99999/"}}, "webhook.url", "must be an http or https URL"),
    ({"webhook": {"url": HOOK, "test_mode": {"enabled": True}}}, "webhook.test_mode.return_task_status", "required"),
    (
        {"webhook": {"url": HOOK, "test_mode": {"return_task_status": "TASK_STATUS_FAILED"}}},
        "webhook.test_mode.enabled",
        "required",
    ),
    (
        {"webhook": {"url": HOOK, "test_mode": {**TEST_MODE, "return_task_status": "TASK_STATUS_QUEUED"}}},
        "webhook.test_mode.return_task_status",
        "must be one of 'TASK_STATUS_SUCCEED' or 'TASK_STATUS_FAILED'",
    ),
    ({"custom_storage": {"aws_s3": {"bucket": "b", "path": "/"}}}, "custom_storage.aws_s3.region", "required"),
    ({"custom_storage": {"aws_s3": {"region": "r", "path": "/"}}}, "custom_storage.aws_s3.bucket", "required"),
    ({"custom_storage": {"aws_s3": {"region": "r", "bucket": "b"}}}, "custom_storage.aws_s3.path", "required"),
    (
        {"custom_storage": {"aws_s3": {**STORAGE, "save_to_path_directly": 1}}},
        "custom_storage.aws_s3.save_to_path_directly",
        "must be true or false",
    ),
    ({"custom_storage": {"aws-s3": {}}}, "custom_storage.aws-s3", "unknown field; did you mean `aws_s3`?"),
    ({"webhok": {}}, "webhok", "unknown field; did you mean `webhook`?"),
]


@pytest.mark.parametrize("operation", EACH)
@pytest.mark.parametrize(("extra", "path", "rule"), EXTRAS_REFUSED)
def test_extra_that_is_wrong_is_refused(operation: str, extra: dict[str, Any], path: str, rule: str) -> None:
    (mistake,) = check(operation, make_input(operation, extra))
    assert (mistake.path, mistake.rule.split("; did you mean `TASK")[0]) == (f"input.extra.{path}", rule)
    assert "secret" not in repr(mistake)


def test_webhook_test_mode_and_storage_are_taken_out_of_the_body() -> None:
    storage = {"aws_s3": {**STORAGE, "save_to_path_directly": True}}
    extra = {
        "webhook": {"url": HOOK, "test_mode": TEST_MODE},
        "response_image_type": "jpeg",
        "custom_storage": storage,
    }
    body = {"extra": extra, **make_input()}
    checked = accept("txt2img", body)
    assert checked.webhook == HOOK
    assert checked.test_mode == TestMode("TASK_STATUS_SUCCEED")
    assert checked.test_mode_disabled is False
    assert checked.storage == CustomStorage("eu-central-1", "acme-renders", "/", True)
    assert checked.body == {**make_input(), "extra": {"response_image_type": "jpeg"}}
    assert list(checked.body) == ["extra", "request"]


def test_storage_makes_a_directory_unless_told_otherwise() -> None:
    checked = accept("txt2img", make_input(extra={"custom_storage": {"aws_s3": STORAGE}}))
    assert checked.storage == CustomStorage("eu-central-1", "acme-renders", "/", False)


def test_extra_that_was_all_ours_is_dropped() -> None:
    assert accept("txt2img", make_input(extra={"webhook": {"url": HOOK}, "custom_storage": {}})).body == make_input()


def test_disabled_test_mode_is_no_test_but_is_remembered() -> None:
    mode = {"enabled": False, "return_task_status": "TASK_STATUS_FAILED"}
    checked = accept("txt2img", make_input(extra={"webhook": {"url": HOOK, "test_mode": mode}}))
    assert checked.test_mode is None
    assert checked.test_mode_disabled is True


def test_webhook_without_test_mode_says_nothing_about_it() -> None:
    checked = accept("txt2img", make_input(extra={"webhook": {"url": HOOK}}))
    assert (checked.test_mode, checked.test_mode_disabled) == (None, False)


@pytest.mark.parametrize("operation", ["txt2img", "img2img", "inpainting"])
def test_images_are_counted(operation: str) -> None:
    assert accept(operation, make_input(operation, image_num=7)).images == 7


def test_an_upscale_is_one_image() -> None:
    assert accept("upscale", make_input("upscale")).images == 1


@pytest.mark.parametrize("name", ["key", "api_key"])
def test_key_at_the_top_is_dropped_whatever_it_is(name: str) -> None:
    assert accept("txt2img", {name: {"a": "\0"}, **make_input()}).body == make_input()


def test_key_further_in_is_refused_and_not_shown() -> None:
    (mistake,) = check("txt2img", make_input(api_key="sk_customers-own"))
    assert mistake.path == "input.request.api_key"
    assert mistake.got is None


def test_every_mistake_is_told_at_once() -> None:
    body = make_input("img2img", {"webhook": {}}, width="512", steps=0, widht=1, image_base64="*", seed=float("nan"))
    assert {mistake.path for mistake in check("img2img", body)} == {
        f"input.{path}"
        for path in (
            "request.width",
            "request.steps",
            "request.widht",
            "request.image_base64",
            "request.seed",
            "extra.webhook.url",
        )
    }


def test_unknown_name_is_told_with_the_nearest_known() -> None:
    body = make_input(negative_promt="fog")
    assert check("txt2img", body) == [
        Mistake("input.request.negative_promt", "unknown field; did you mean `negative_prompt`?")
    ]
    assert check("txt2img", {"requests": {}, **make_input()}) == [
        Mistake("input.requests", "unknown field; did you mean `request`?")
    ]


SHOWN = [
    ({"width": "512"}, '"512"'),
    ({"width": True}, "true"),
    ({"width": None}, "null"),
    ({"width": 4096}, "4096"),
    ({"width": {"a": 1}}, "an object with 1 fields"),
    ({"width": [1, 2]}, "a list of 2 items"),
    ({"prompt": "x" * 1025}, '"' + "x" * 98 + "…"),
    ({"request": '{"key": "sk_secret"}'}, "a string of 20 characters"),
]


@pytest.mark.parametrize(("change", "shown"), SHOWN)
def test_what_came_is_shown_short(change: dict[str, Any], shown: str) -> None:
    body = make_input() | change if "request" in change else make_input(**change)
    (mistake,) = check("txt2img", body)
    assert mistake.got == shown


def test_base64_is_never_shown() -> None:
    (mistake,) = check("img2img", make_input("img2img", image_base64="data:image/png;base64,QUJD"))
    assert mistake.rule == "must be plain base64, without `data:image/…;base64,` in front"
    assert mistake.got == "a string of 26 characters"


UNSTORABLE = [
    ("a\0b", "must not contain NUL characters"),
    ("a\ud800b", "must not contain lone surrogates"),
]


@pytest.mark.parametrize(("text", "rule"), UNSTORABLE)
def test_text_that_cannot_be_stored_is_refused(text: str, rule: str) -> None:
    assert check("txt2img", make_input(prompt=text)) == [Mistake("input.request.prompt", rule)]
    paths = {mistake.rule: mistake.path for mistake in check("txt2img", make_input(**{text: 1}))}
    assert paths == {rule: "input.request.a\ufffdb"}


def test_bottomless_nesting_is_refused() -> None:
    nested: Any = 1
    for _ in range(5000):
        nested = [nested]
    rules = {mistake.rule for mistake in check("txt2img", make_input(loras=nested))}
    assert "must not be nested deeper than 32 levels" in rules


def test_flood_of_mistakes_is_cut() -> None:
    mistakes = check("txt2img", make_input(**{f"x{i}": i for i in range(500)}))
    assert len(mistakes) == 101
    assert mistakes[-1].rule == "and 400 more mistakes"
    assert check("txt2img", make_input(**{f"x{i}": i for i in range(10_001)})) == [
        Mistake("input", "must have at most 10000 fields and items in all")
    ]


def test_unknown_operation_is_a_mistake() -> None:
    assert isinstance(PROVIDER.check_input("downscale", make_input()), list)


# --- Valid bodies, any of them --------------------------------------------------------------------------------------

printable = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=30)
ratio = st.floats(0, 1) | st.integers(0, 1)
loras = st.lists(st.fixed_dictionaries({"model_name": printable, "strength": ratio}), max_size=5)
picture = st.sampled_from([PICTURE, encode(draw_picture("JPEG")), encode(draw_picture("WEBP"))])
sides = {"width": st.integers(128, 2048), "height": st.integers(128, 2048)}
common = {
    "model_name": printable,
    "prompt": printable,
    "image_num": st.integers(1, 8),
    "steps": st.integers(1, 100),
    "guidance_scale": st.floats(1, 30) | st.integers(1, 30),
    "sampler_name": st.sampled_from(get_args(choices.Sampler)),
}
optional = {
    "negative_prompt": st.just("") | printable,
    "seed": st.integers(-1, 2**32),
    "sd_vae": printable,
    "clip_skip": st.integers(1, 12),
    "loras": loras,
    "embeddings": st.lists(st.fixed_dictionaries({"model_name": printable}), max_size=5),
}
units = st.fixed_dictionaries(
    {"model_name": printable, "image_base64": picture, "strength": ratio},
    optional={
        "preprocessor": st.sampled_from(get_args(choices.Preprocessor)),
        "guidance_start": ratio,
        "guidance_end": ratio,
    },
)
txt2img = st.fixed_dictionaries(
    {**common, **sides},
    optional={
        **optional,
        "hires_fix": st.fixed_dictionaries(
            {"target_width": st.integers(128, 4096), "target_height": st.integers(128, 4096), "strength": ratio},
            optional={"upscaler": st.sampled_from(get_args(choices.HiresUpscaler))},
        ),
        "refiner": st.fixed_dictionaries({"switch_at": ratio}),
        "restore_faces": st.booleans(),
        "enable_transparent_background": st.booleans(),
    },
)
img2img = st.fixed_dictionaries(
    {**common, **sides, "image_base64": picture},
    optional={
        **optional,
        "strength": st.none() | ratio,
        "controlnet": st.fixed_dictionaries({"units": st.lists(units, max_size=3)}),
        "ip_adapters": st.lists(
            st.fixed_dictionaries(
                {
                    "model_name": st.sampled_from(get_args(choices.IpAdapterModel)),
                    "image_base64": picture,
                    "strength": ratio,
                }
            ),
            max_size=1,
        ),
    },
)
inpainting = st.fixed_dictionaries(
    {**common, "image_base64": picture, "mask_image_base64": picture},  # all of one size
    optional={
        **optional,
        "strength": st.none() | ratio,
        "mask_blur": st.integers(0, 64),
        "inpainting_full_res": st.integers(0, 1),
        "inpainting_full_res_padding": st.integers(0, 256),
        "inpainting_mask_invert": st.integers(0, 1),
        "initial_noise_multiplier": st.floats(0, 1.5) | st.integers(0, 1),
    },
)
upscale = st.fixed_dictionaries(
    {
        "model_name": st.sampled_from(get_args(choices.UpscaleModel)),
        "image_base64": picture,
        "scale_factor": st.floats(1, 4, exclude_min=True) | st.integers(2, 4),
    }
)
extras = st.fixed_dictionaries(
    {},
    optional={
        "response_image_type": st.sampled_from(["png", "webp", "jpeg"]),
        "enterprise_plan": st.fixed_dictionaries({"enabled": st.booleans()}),
        "enable_nsfw_detection": st.booleans(),
        "nsfw_detection_level": st.integers(0, 2),
    },
)


@pytest.mark.parametrize(
    ("operation", "requests"),
    [("txt2img", txt2img), ("img2img", img2img), ("inpainting", inpainting), ("upscale", upscale)],
)
def test_valid_body_is_accepted_word_for_word(operation: str, requests: st.SearchStrategy[Any]) -> None:
    @QUICK
    @given(request=requests, extra=st.none() | extras)
    def check_word_for_word(request: dict[str, Any], extra: dict[str, Any] | None) -> None:
        body = {"request": request} if extra is None else {"extra": extra, "request": request}
        before = json.dumps(body)
        assert json.dumps(accept(operation, body).body) == before

    check_word_for_word()
