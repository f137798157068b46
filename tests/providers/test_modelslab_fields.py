"""Every field of ModelsLab's bodies, on both sides of each limit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

import jsonschema
import pytest

from service.providers.contract import Mistake
from service.providers.modelslab import PROVIDER, schema

from .bodies import encode
from .modelslab_bodies import ALL, LINK, PICTURED, accept, check, make_input

SCHEDULERS = [
    "DDPMScheduler",
    "DDIMScheduler",
    "PNDMScheduler",
    "LMSDiscreteScheduler",
    "EulerDiscreteScheduler",
    "EulerAncestralDiscreteScheduler",
    "DPMSolverMultistepScheduler",
    "HeunDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "DPMSolverSinglestepScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "UniPCMultistepScheduler",
    "DDIMInverseScheduler",
    "DEISMultistepScheduler",
    "IPNDMScheduler",
    "KarrasVeScheduler",
    "ScoreSdeVeScheduler",
    "LCMScheduler",
]
YES_NO = ("safety_checker", "enhance_prompt", "tomesd", "use_karras_sigmas", "temp")

Row = tuple[str, str, Any]


def every(operations: tuple[str, ...], field: str, *values: Any) -> Iterator[Row]:
    return ((operation, field, value) for operation in operations for value in values)


ALLOWED: list[Row] = [
    *every(ALL, "prompt", "x", "größe 🙂"),
    *every(ALL, "negative_prompt", "", "fog", None),
    *every(ALL, "width", 64, 512, 1024, "64", "512", "1024", 100),
    *every(ALL, "height", 64, 1024, "64", "1024"),
    *every(ALL, "samples", 1, 4, "1", "4"),
    *every(ALL, "num_inference_steps", 20, 21, 30, 31, 41, "20", "21", "30", "31", "41"),
    *(row for name in YES_NO for row in every(ALL, name, "yes", "no")),
    *every(ALL, "safety_checker_type", "blur", "sensitive_content_text", "pixelate", "black"),
    *every(ALL, "guidance_scale", 1, 20, 7.5, 1.0, "1", "7.5", "20"),
    *every(ALL, "algorithm_type", "none", "dpmsolver+++"),
    *every(ALL, "scheduler", *SCHEDULERS),
    *every(ALL, "seed", None, 0, -1, 2**62, "1343687916", "-1"),
    *every(ALL, "vae", None, "", "sdxl-vae"),
    *every(ALL, "lora_model", None, "", "contrast-fix", "contrast-fix,yae-miko-genshin", "a, b"),
    *every(ALL, "lora_strength", None, "", "0.1", "1", 0.1, 1, 0.5),
    *every(ALL, "clip_skip", 1, 8, "1", "8"),
    *every(ALL, "webhook", None, "https://consumer.example/hooks"),
    *every(ALL, "track_id", None, "", "order-42", 0, 42, "x" * 256),
    *every(PICTURED, "strength", 0, 1, 0.7, "0.7"),
    *every(PICTURED, "init_image", LINK),
    *every(("inpaint",), "mask_image", LINK),
    *(
        row
        for name in ("panorama", "self_attention", "upscale", "highres_fix")
        for row in every(("text2img",), name, "yes")
    ),
    *every(("img2img",), "loadbalancer", "yes"),
    *every(("img2img",), "ip_adapter_id", *get_args(schema.IpAdapter)),
    *every(("img2img",), "ip_adapter_scale", 0, 1),
    *every(("img2img",), "ip_adapter_image", LINK),
]


@pytest.mark.parametrize(("operation", "field", "value"), ALLOWED)
def test_value_within_its_limits_goes_out_word_for_word(operation: str, field: str, value: Any) -> None:
    body = make_input(operation, **{field: value})
    checked = accept(operation, body)
    if field not in {"webhook", "track_id"}:
        assert checked.body[field] == value
        assert type(checked.body[field]) is type(value)


INTEGER = "must be an integer, or one written as text"
NUMBER = "must be a number, or one written as text"
BOOLEAN = 'must be "yes" or "no", as text: ModelsLab takes no true and false here'
CHOICE = "must be one of 'yes' or 'no'"
STEPS = "must be one of 20, 21, 30, 31 or 41"
STRENGTHS = "must be numbers, separated by commas"
RANGE = "must be numbers from 0.1 to 1, separated by commas"
TEXT = "must be a string"
EMPTY = "must have at least 1 character"
URL = "must be an http or https URL"


def refuse(operations: tuple[str, ...], field: str, rule: str, *values: Any) -> Iterator[tuple[str, str, Any, str]]:
    return ((operation, field, value, rule) for operation in operations for value in values)


REFUSED = [
    *refuse(ALL, "model_id", EMPTY, ""),
    *refuse(ALL, "model_id", TEXT, None, 5, ["x"]),
    *refuse(ALL, "prompt", EMPTY, ""),
    *refuse(ALL, "prompt", TEXT, None),
    *refuse(ALL, "negative_prompt", TEXT, 5, {}),
    *refuse(ALL, "width", "must be at least 64", 63, "63", 0, -512, "-512"),
    *refuse(ALL, "width", "must be at most 1024", 1025, "1025", 2**62),
    *refuse(
        ALL, "width", INTEGER, 512.0, "512.0", True, None, [512], "", " 512", "512 ", "0512", "５１２", "+512", "5e2"
    ),
    *refuse(ALL, "width", "must fit into 64 bits", 2**63),
    *refuse(ALL, "height", "must be at least 64", 63, "63"),
    *refuse(ALL, "height", "must be at most 1024", 1025, "1025"),
    *refuse(ALL, "samples", "must be at least 1", 0, "0"),
    *refuse(ALL, "samples", "must be at most 4", 5, "5"),
    *refuse(ALL, "samples", INTEGER, None, 1.5, "two", False),
    *refuse(ALL, "num_inference_steps", STEPS, 1, 19, 22, 29, 32, 40, 42, 50, "50"),
    *refuse(ALL, "num_inference_steps", INTEGER, True, "21.0", 21.0, None),
    *refuse(ALL, "guidance_scale", "must be at least 1", 0.99, "0.99", 0),
    *refuse(ALL, "guidance_scale", "must be at most 20", 20.01, "20.01", 21),
    *refuse(ALL, "guidance_scale", NUMBER, None, True, "7,5", "7.", ".5", "nan", "inf", "1e1", []),
    *refuse(ALL, "guidance_scale", "must be a finite number", float("nan"), float("inf")),
    *(row for name in (*YES_NO, "base64") for row in refuse(ALL, name, BOOLEAN, True, False)),
    *(row for name in (*YES_NO, "base64") for row in refuse(ALL, name, CHOICE, None, 1, "maybe so", "")),
    *refuse(ALL, "clip_skip", "must be at least 1", 0, "0"),
    *refuse(ALL, "clip_skip", "must be at most 8", 9, "9"),
    *refuse(ALL, "seed", INTEGER, 1.5, "x", True, ""),
    *refuse(ALL, "vae", TEXT, 1),
    *refuse(ALL, "lora_model", "must be names, separated by commas", "a,,b", ",", "a,", " "),
    *refuse(ALL, "lora_model", TEXT, ["a"], 1),
    *refuse(ALL, "lora_strength", RANGE, "0.09", "1.01", 0.09, 1.01, "0.5,2", 0),
    *refuse(ALL, "lora_strength", STRENGTHS, "x", "0.5,", True, [0.5], {}),
    *refuse(ALL, "algorithm_type", "must be one of 'none' or 'dpmsolver+++'", None, 5),
    *refuse(ALL, "webhook", URL, "", "ftp://x.example", "consumer.example"),
    *refuse(ALL, "webhook", TEXT, 5, {}),
    *refuse(ALL, "track_id", "must be a string, or an integer", 1.5, True, [], {}),
    *refuse(ALL, "track_id", "must have at most 256 characters", "x" * 257),
    *refuse(PICTURED, "strength", "must be at least 0", -0.01, "-0.01"),
    *refuse(PICTURED, "strength", "must be at most 1", 1.01, "1.01"),
    *refuse(PICTURED, "strength", NUMBER, None, True),
    *refuse(PICTURED, "init_image", TEXT, None, 5),
    *refuse(PICTURED, "init_image", EMPTY, ""),
    *refuse(("inpaint",), "mask_image", EMPTY, ""),
    *refuse(("text2img",), "upscale", BOOLEAN, True),
    *refuse(("text2img",), "strength", "unknown field; did you mean `lora_strength`?", 0.5),
    *refuse(("text2img",), "init_image", "unknown field", LINK),
    *refuse(("img2img",), "mask_image", "unknown field; did you mean `init_image`?", LINK),
    *refuse(("img2img", "inpaint"), "panorama", "unknown field", "yes"),
    *refuse(("img2img",), "ip_adapter_scale", "must be at most 1", 1.5),
    *refuse(("img2img",), "ip_adapter_image", URL, "x"),
]


@pytest.mark.parametrize(("operation", "field", "value", "rule"), REFUSED)
def test_value_beyond_its_limits_is_refused(operation: str, field: str, value: Any, rule: str) -> None:
    told = {mistake.path: mistake.rule for mistake in check(operation, make_input(operation, **{field: value}))}
    assert told == {f"input.{field}": rule}


@pytest.mark.parametrize(
    ("operation", "field"),
    [
        *((name, field) for name in ALL for field in ("model_id", "prompt")),
        *((name, "init_image") for name in PICTURED),
        ("inpaint", "mask_image"),
    ],
)
def test_required_field_that_is_missing_is_told(operation: str, field: str) -> None:
    body = make_input(operation)
    del body[field]
    assert check(operation, body) == [Mistake(f"input.{field}", "required")]


def test_only_model_and_prompt_are_needed_for_a_picture_out_of_words() -> None:
    assert accept("text2img", {"model_id": "flux", "prompt": "a lighthouse at dawn"}).images == 1


NEAREST = [
    ({"scheduler": "EulerDiscrete"}, "scheduler", "did you mean `EulerDiscreteScheduler`?"),
    ({"scheduler": "ddimscheduler"}, "scheduler", "did you mean `DDIMScheduler`?"),
    ({"safety_checker_type": "pixel"}, "safety_checker_type", "did you mean `pixelate`?"),
    ({"algorithm_type": "dpmsolver++"}, "algorithm_type", "did you mean `dpmsolver+++`?"),
    ({"tomesd": "Yes"}, "tomesd", "did you mean `yes`?"),
    ({"negativ_prompt": ""}, "negativ_prompt", "unknown field; did you mean `negative_prompt`?"),
]


@pytest.mark.parametrize(("change", "path", "words"), NEAREST)
def test_nearest_choice_or_name_is_suggested(change: Any, path: str, words: str) -> None:
    (mistake,) = check("text2img", make_input(**change))
    assert mistake.path == f"input.{path}"
    assert mistake.rule.endswith(words)


def test_choices_are_those_of_the_page() -> None:
    assert sorted(get_args(schema.Scheduler)) == sorted(SCHEDULERS)
    assert len(SCHEDULERS) == 18


# --- The schema that is shown ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("operation", "field", "value"), ALLOWED)
def test_shown_schema_allows_what_the_check_allows(operation: str, field: str, value: Any) -> None:
    jsonschema.validate(make_input(operation, **{field: value}), PROVIDER.operations[operation].input_schema)


@pytest.mark.parametrize(
    "change",
    [
        {"width": 2048},
        {"width": "x"},
        {"num_inference_steps": "22"},
        {"samples": 5},
        {"tomesd": True},
        {"seed": 1.5},
        {"lora_strength": 2},
        {"guidance_scale": None},
        {"scheduler": "x"},
        {"track_id": []},
        {"widht": 1},
    ],
)
def test_shown_schema_refuses_what_it_can(change: Any) -> None:
    assert check("text2img", make_input(**change))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(make_input(**change), PROVIDER.operations["text2img"].input_schema)


# --- What several fields say together -------------------------------------------------------------------------------


def test_steps_is_another_name_for_num_inference_steps() -> None:
    body = make_input("inpaint", steps="30")
    del body["num_inference_steps"]
    assert accept("inpaint", body).body["steps"] == "30"
    assert "num_inference_steps" not in accept("inpaint", body).body


def test_both_names_for_steps_at_once_are_refused() -> None:
    assert check("inpaint", make_input("inpaint", steps=30)) == [
        Mistake("input.steps", "is another name of `num_inference_steps`: give one of them")
    ]


@pytest.mark.parametrize("steps", [22, "50", True])
def test_steps_by_its_other_name_has_the_same_choices(steps: Any) -> None:
    body = make_input("inpaint", steps=steps)
    del body["num_inference_steps"]
    assert [mistake.path for mistake in check("inpaint", body)] == ["input.steps"]


@pytest.mark.parametrize(
    ("models", "strengths", "fine"),
    [
        ("a", "0.5", True),
        ("a,b", "0.5", True),
        ("a,b", 0.5, True),
        ("a,b", "0.5, 1", True),
        ("a,b,c", "0.5,1", False),
        ("a", "0.5,1", False),
        (None, "0.5,1", False),
        (None, "0.5", True),
        ("a,b", None, True),
    ],
)
def test_there_is_one_strength_or_as_many_as_models(models: Any, strengths: Any, fine: bool) -> None:
    told = check("text2img", make_input(lora_model=models, lora_strength=strengths))
    assert [mistake.path for mistake in told] == ([] if fine else ["input.lora_strength"])


PICTURE = encode(b"\x89PNG\r\n\x1a\n" + bytes(60))


@pytest.mark.parametrize("operation", PICTURED)
@pytest.mark.parametrize("picture", [PICTURE, f"data:image/png;base64,{PICTURE}", f"DATA:IMAGE/JPEG;BASE64,{PICTURE}"])
def test_pictures_go_in_as_base64_when_asked_for(operation: str, picture: str) -> None:
    pictures = {name: picture for name in ("init_image", "mask_image") if name in make_input(operation)}
    body = make_input(operation, base64="yes", **pictures)
    assert accept(operation, body).body["init_image"] == picture


ODD_PICTURES = [
    ("no", PICTURE, 'must be an http or https URL; base64 needs `"base64": "yes"`'),
    (None, "pictures/lighthouse.png", 'must be an http or https URL; base64 needs `"base64": "yes"`'),
    ("yes", LINK, 'must be the picture in base64, because `base64` is "yes"'),
    ("yes", PICTURE[:-1], "must be base64: A-Z a-z 0-9 + /, padded with =, without line breaks"),
    ("yes", PICTURE + "\n", "must be base64: A-Z a-z 0-9 + /, padded with =, without line breaks"),
    ("yes", "data:text/plain;base64,QUJD", "must be plain base64, without `data:image/…;base64,` in front"),
    ("yes", "data:image/png;base64,", "must not be empty"),
]


@pytest.mark.parametrize("field", ["init_image", "mask_image"])
@pytest.mark.parametrize(("encoded", "picture", "rule"), ODD_PICTURES)
def test_picture_in_the_other_form_is_refused_and_not_shown(field: str, encoded: Any, picture: str, rule: str) -> None:
    body = make_input("inpaint", **({} if encoded is None else {"base64": encoded}))
    body |= {"init_image": PICTURE, "mask_image": PICTURE} if encoded == "yes" else {}
    (mistake,) = check("inpaint", {**body, field: picture})
    assert (mistake.path, mistake.rule) == (f"input.{field}", rule)
    assert mistake.got in (None, f"a string of {len(picture)} characters")


@pytest.mark.parametrize(("size", "fine"), [(20 * 2**20, True), (20 * 2**20 + 1, False)])
def test_picture_in_base64_has_at_most_20_mib(size: int, fine: bool) -> None:
    told = check("img2img", make_input("img2img", base64="yes", init_image=encode(bytes(size))))
    assert [mistake.rule for mistake in told] == ([] if fine else ["must decode to at most 20 MiB"])
