"""Every field of Novita's requests: its limits, on both sides."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest

from service.providers.contract import Mistake
from service.providers.novita import schema

from .bodies import ADAPTER, HIRES, PICTURE, UNIT, accept, check, claim_png, draw_picture, encode, make_input, unit

BOTH = ("txt2img", "img2img")
MIB = 2**20
# As the pages list them, so that none gets lost.
SAMPLERS_LISTED = (
    "Euler a, Euler, LMS, Heun, DPM2, DPM2 a, DPM++ 2S a, DPM++ 2M, DPM++ SDE, DPM fast, DPM adaptive, LMS Karras, "
    "DPM2 Karras, DPM2 a Karras, DPM++ 2S a Karras, DPM++ 2M Karras, DPM++ SDE Karras, DDIM, PLMS, UniPC"
)
PREPROCESSORS_LISTED = (
    "scribble_hed, softedge_hed, scribble_hedsafe, softedge_hedsafe, depth_midas, mlsd, openpose, openpose_face, "
    "openpose_faceonly, openpose_full, openpose_hand, dwpose, scribble_pidinet, softedge_pidinet, scribble_pidsafe, "
    "softedge_pidsafe, normal_bae, lineart_coarse, lineart_realistic, lineart_anime, lineart, depth_zoe, shuffle, "
    "mediapipe_face, canny, depth, depth_leres, depth_leres++"
)
SAMPLERS, PREPROCESSORS = SAMPLERS_LISTED.split(", "), PREPROCESSORS_LISTED.split(", ")
UPSCALERS = ["RealESRGAN_x4plus_anime_6B", "RealESRNet_x4plus", "Latent"]


def each(operation: str, field: str, *values: Any) -> list[Any]:
    return [pytest.param(operation, field, value, id=f"{operation}-{field}-{str(value)[:24]}") for value in values]


def both(field: str, *values: Any) -> list[Any]:
    return [param for operation in BOTH for param in each(operation, field, *values)]


ALLOWED = [
    *both("model_name", "x"),
    *both("prompt", "x", "x" * 1024, "ä🙂" * 512),
    *both("negative_prompt", "", "x" * 1024),
    *both("width", 128, 2048),
    *both("height", 128, 2048),
    *both("image_num", 1, 8),
    *both("steps", 1, 100),
    *both("guidance_scale", 1, 1.0, 30, 29.99),
    *both("sampler_name", *SAMPLERS),
    *both("seed", -1, 0, 2**63 - 1),
    *both("sd_vae", "", "customVAE.safetensors"),
    *both("clip_skip", 1, 12),
    *both("loras", [], [{"model_name": "x", "strength": 0}], [{"model_name": "x", "strength": 1}] * 5),
    *both("embeddings", [], [{"model_name": "x"}] * 5),
    *each("txt2img", "hires_fix", HIRES, {**HIRES, "target_width": 128, "target_height": 4096}),
    *each("txt2img", "hires_fix", *({**HIRES, "upscaler": name} for name in UPSCALERS)),
    *each("txt2img", "refiner", {"switch_at": 0}, {"switch_at": 1}),
    *each("txt2img", "enable_transparent_background", True, False),
    *each("txt2img", "restore_faces", True, False),
    *each("img2img", "strength", None, 0, 0.5, 1),
    *each("img2img", "controlnet", {"units": []}, {"units": [UNIT] * 3}),
    *each("img2img", "controlnet", *(unit(preprocessor=name) for name in PREPROCESSORS)),
    *each("img2img", "controlnet", unit(guidance_start=0, guidance_end=1.0), unit(image_base64="QUJD")),
    *each("img2img", "ip_adapters", [], [ADAPTER], [{**ADAPTER, "model_name": "ip-adapter_sd15.bin"}]),
    *each("img2img", "image_base64", *(encode(draw_picture(kind)) for kind in ("PNG", "JPEG", "WEBP"))),
]


@pytest.mark.parametrize(("operation", "field", "value"), ALLOWED)
def test_value_within_its_limits_is_accepted_word_for_word(operation: str, field: str, value: Any) -> None:
    body = make_input(operation, **{field: value})
    assert json.dumps(accept(operation, body).body) == json.dumps(body)


def no(operation: str, field: str, rule: str, *values: Any, at: str = "") -> list[Any]:
    path = f"input.request.{field}{at}"
    return [pytest.param(operation, field, v, path, rule, id=f"{operation}-{field}{at}-{str(v)[:24]}") for v in values]


def neither(field: str, rule: str, *values: Any, at: str = "") -> list[Any]:
    return [param for operation in BOTH for param in no(operation, field, rule, *values, at=at)]


def lora(**changes: Any) -> list[dict[str, Any]]:
    return [{"model_name": "x", "strength": 0.5, **changes}]


INTEGER, NUMBER, TEXT, LIST, OBJECT = (
    "must be an integer",
    "must be a number",
    "must be a string",
    "must be a list",
    "must be an object",
)
BASE64 = "must be base64: A-Z a-z 0-9 + /, padded with =, without line breaks"
RATIO_LOW, RATIO_HIGH = "must be at least 0", "must be at most 1"
REFUSED = [
    *neither("model_name", "must have at least 1 character", ""),
    *neither("model_name", TEXT, None, 5, ["x"]),
    *neither("prompt", "must have at least 1 character", ""),
    *neither("prompt", "must have at most 1024 characters", "x" * 1025),
    *neither("negative_prompt", "must have at most 1024 characters", "x" * 1025),
    *neither("negative_prompt", TEXT, None),
    *neither("width", INTEGER, True, "512", 512.0, None, [512]),
    *neither("width", "must be at least 128", 127, -1),
    *neither("width", "must be at most 2048", 2049),
    *neither("width", "must fit into 64 bits", 2**63, 10**4000),
    *neither("height", "must be at least 128", 127),
    *neither("height", "must be at most 2048", 2049),
    *neither("image_num", "must be at least 1", 0),
    *neither("image_num", "must be at most 8", 9),
    *neither("steps", "must be at least 1", 0),
    *neither("steps", "must be at most 100", 101),
    *neither("guidance_scale", "must be at least 1", 0.99),
    *neither("guidance_scale", "must be at most 30", 30.01),
    *neither("guidance_scale", NUMBER, "7.5", False, None),
    *neither("guidance_scale", "must be a finite number", float("nan"), float("inf"), float("-inf")),
    *neither("seed", "must be at least -1", -2),
    *neither("sd_vae", TEXT, 1),
    *neither("clip_skip", "must be at least 1", 0),
    *neither("clip_skip", "must be at most 12", 13),
    *neither("loras", "must have at most 5 items", lora() * 6),
    *neither("loras", LIST, {}, "x", None),
    *neither("loras", OBJECT, ["x"], at=".0"),
    *neither("loras", RATIO_HIGH, [*lora(), *lora(strength=1.01)], at=".1.strength"),
    *neither("loras", RATIO_LOW, lora(strength=-0.01), at=".0.strength"),
    *neither("loras", "required", [{"model_name": "x"}], at=".0.strength"),
    *neither("embeddings", "must have at most 5 items", [{"model_name": "x"}] * 6),
    *neither("embeddings", "required", [{}], at=".0.model_name"),
    *no("txt2img", "hires_fix", "must be at least 128", {**HIRES, "target_width": 127}, at=".target_width"),
    *no("txt2img", "hires_fix", "must be at most 4096", {**HIRES, "target_height": 4097}, at=".target_height"),
    *no("txt2img", "hires_fix", RATIO_HIGH, {**HIRES, "strength": 2}, at=".strength"),
    *no("txt2img", "refiner", RATIO_HIGH, {"switch_at": 1.5}, at=".switch_at"),
    *no("txt2img", "refiner", "required", {}, at=".switch_at"),
    *no("txt2img", "restore_faces", "must be true or false", 1, "yes"),
    *no("txt2img", "enable_transparent_background", "must be true or false", 0),
    *no("txt2img", "image_base64", "unknown field", PICTURE),
    *no("txt2img", "strength", "unknown field", 0.5),
    *no("img2img", "hires_fix", "unknown field", HIRES),
    *no("img2img", "strength", RATIO_HIGH, 1.01),
    *no("img2img", "strength", RATIO_LOW, -0.01),
    *no("img2img", "controlnet", "required", {}, at=".units"),
    *no("img2img", "controlnet", "required", {"units": [{**UNIT, "image_base64": None}, {}]}, at=".units.1.strength"),
    *no("img2img", "controlnet", RATIO_HIGH, unit(guidance_end=1.1), at=".units.0.guidance_end"),
    *no("img2img", "controlnet", RATIO_LOW, unit(guidance_start=-0.1), at=".units.0.guidance_start"),
    *no("img2img", "controlnet", BASE64, unit(image_base64="QUJ*"), at=".units.0.image_base64"),
    *no("img2img", "ip_adapters", "must have at most 1 item", [ADAPTER] * 2),
    *no("img2img", "ip_adapters", RATIO_HIGH, [{**ADAPTER, "strength": 2}], at=".0.strength"),
    *no(
        "img2img", "image_base64", BASE64, "QUJ", "QUJD\n", "QUJ-", "QUJ_", " QUJD", "QUJD====", "QÜJD", "=", "QQ==QQ=="
    ),
    *no("img2img", "image_base64", "must not be empty", ""),
    *no("img2img", "image_base64", TEXT, None, 5),
    *no("img2img", "image_base64", "must be a PNG, JPEG or WEBP image", encode(b"GIF89a" + bytes(50))),
]


@pytest.mark.parametrize(("operation", "field", "value", "path", "rule"), REFUSED)
def test_value_beyond_its_limits_is_refused(operation: str, field: str, value: Any, path: str, rule: str) -> None:
    told = {mistake.path: mistake.rule for mistake in check(operation, make_input(operation, **{field: value}))}
    assert told.get(path) == rule


@pytest.mark.parametrize("operation", BOTH)
@pytest.mark.parametrize("field", ["model_name", "prompt", "width", "height", "image_num", "steps", "guidance_scale"])
def test_required_field_that_is_missing_is_told(operation: str, field: str) -> None:
    body = make_input(operation)
    del body["request"][field]
    assert check(operation, body) == [Mistake(f"input.request.{field}", "required")]


def test_img2img_needs_its_image() -> None:
    assert check("img2img", make_input("txt2img")) == [Mistake("input.request.image_base64", "required")]


ENUMS = [
    ("txt2img", {"sampler_name": "Eular a"}, "sampler_name", "did you mean `Euler a`?"),
    ("txt2img", {"sampler_name": "ddim"}, "sampler_name", "did you mean `DDIM`?"),
    ("txt2img", {"hires_fix": {**HIRES, "upscaler": "latent"}}, "hires_fix.upscaler", "did you mean `Latent`?"),
    ("img2img", {"controlnet": unit(preprocessor="cany")}, "controlnet.units.0.preprocessor", "did you mean `canny`?"),
    ("img2img", {"ip_adapters": [{**ADAPTER, "model_name": "x"}]}, "ip_adapters.0.model_name", "must be one of"),
]


@pytest.mark.parametrize(("operation", "change", "path", "words"), ENUMS)
def test_choice_that_does_not_exist_is_told_with_the_nearest(
    operation: str, change: Any, path: str, words: str
) -> None:
    (mistake,) = check(operation, make_input(operation, **change))
    assert mistake.path == f"input.request.{path}"
    assert mistake.rule.startswith("must be one of ")
    assert words in mistake.rule


def test_choices_are_those_of_the_page() -> None:
    assert sorted(get_args(schema.Sampler)) == sorted(SAMPLERS)
    assert sorted(get_args(schema.Preprocessor)) == sorted(PREPROCESSORS)
    assert sorted(get_args(schema.Upscaler)) == sorted(UPSCALERS)


@pytest.mark.parametrize(("width", "height", "fine"), [(4000, 4000, True), (4001, 4000, False), (16_000_001, 1, False)])
def test_source_image_has_at_most_16_megapixels(width: int, height: int, fine: bool) -> None:
    mistakes = check("img2img", make_input("img2img", image_base64=encode(claim_png(width, height))))
    assert (mistakes == []) is fine
    assert fine or mistakes[0].rule.startswith("must have at most 16 megapixels")


@pytest.mark.parametrize(("size", "fine"), [(10 * MIB, True), (10 * MIB + 1, False), (10 * MIB + 4, False)])
@pytest.mark.parametrize("where", ["image_base64", "controlnet.units.0.image_base64"])
def test_image_has_at_most_10_mib(where: str, size: int, fine: bool) -> None:
    text = encode(draw_picture().ljust(size, b"\0"))
    change = {"image_base64": text} if where == "image_base64" else {"controlnet": unit(image_base64=text)}
    mistakes = check("img2img", make_input("img2img", **change))
    expected = Mistake(f"input.request.{where}", "must decode to at most 10 MiB", f"a string of {len(text)} characters")
    assert mistakes == ([] if fine else [expected])
