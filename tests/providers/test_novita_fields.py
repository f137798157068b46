"""Every field of Novita's requests: its limits, on both sides."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest

from service.providers.contract import Mistake
from service.providers.novita.tasks import choices

from .bodies import ADAPTER, HIRES, PICTURE, UNIT, accept, check, claim_png, draw_picture, encode, make_input, unit

SIZED = ("txt2img", "img2img")
DRAWN = (*SIZED, "inpainting")
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
UPSCALE_MODELS = ["RealESRGAN_x4plus_anime_6B", "RealESRNet_x4plus", "4x-UltraSharp"]
UPSCALERS = ["RealESRGAN_x4plus_anime_6B", "RealESRNet_x4plus", "Latent"]


def each(operation: str, field: str, *values: Any) -> list[Any]:
    return [pytest.param(operation, field, value, id=f"{operation}-{field}-{str(value)[:24]}") for value in values]


def drawn(field: str, *values: Any) -> list[Any]:
    return [param for operation in DRAWN for param in each(operation, field, *values)]


def sized(field: str, *values: Any) -> list[Any]:
    return [param for operation in SIZED for param in each(operation, field, *values)]


ALLOWED = [
    *drawn("model_name", "x"),
    *drawn("prompt", "x", "x" * 1024, "ä🙂" * 512),
    *drawn("negative_prompt", "", "x" * 1024),
    *sized("width", 128, 2048),
    *sized("height", 128, 2048),
    *drawn("image_num", 1, 8),
    *drawn("steps", 1, 100),
    *drawn("guidance_scale", 1, 1.0, 30, 29.99),
    *drawn("sampler_name", *SAMPLERS),
    *drawn("seed", -1, 0, 2**63 - 1),
    *drawn("sd_vae", "", "customVAE.safetensors"),
    *drawn("clip_skip", 1, 12),
    *drawn("loras", [], [{"model_name": "x", "strength": 0}], [{"model_name": "x", "strength": 1}] * 5),
    *drawn("embeddings", [], [{"model_name": "x"}] * 5),
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
    *each("inpainting", "strength", None, 0, 1),
    *each("inpainting", "mask_blur", 0, 64),
    *each("inpainting", "inpainting_full_res", 0, 1),
    *each("inpainting", "inpainting_full_res_padding", 0, 8, 256),
    *each("inpainting", "inpainting_mask_invert", 0, 1),
    *each("inpainting", "initial_noise_multiplier", 0, 0.5, 1.5),
    *each("inpainting", "mask_image_base64", *(encode(draw_picture(kind)) for kind in ("PNG", "JPEG", "WEBP"))),
    *each("upscale", "model_name", *UPSCALE_MODELS),
    *each("upscale", "scale_factor", 1.01, 2, 3.5, 4),
    *each("upscale", "image_base64", *(encode(draw_picture(kind)) for kind in ("PNG", "JPEG", "WEBP"))),
]


@pytest.mark.parametrize(("operation", "field", "value"), ALLOWED)
def test_value_within_its_limits_is_accepted_word_for_word(operation: str, field: str, value: Any) -> None:
    body = make_input(operation, **{field: value})
    assert json.dumps(accept(operation, body).body) == json.dumps(body)


def no(operation: str, field: str, rule: str, *values: Any, at: str = "") -> list[Any]:
    path = f"input.request.{field}{at}"
    return [pytest.param(operation, field, v, path, rule, id=f"{operation}-{field}{at}-{str(v)[:24]}") for v in values]


def undrawn(field: str, rule: str, *values: Any, at: str = "") -> list[Any]:
    return [param for operation in DRAWN for param in no(operation, field, rule, *values, at=at)]


def unsized(field: str, rule: str, *values: Any) -> list[Any]:
    return [param for operation in SIZED for param in no(operation, field, rule, *values)]


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
    *undrawn("model_name", "must have at least 1 character", ""),
    *undrawn("model_name", TEXT, None, 5, ["x"]),
    *undrawn("prompt", "must have at least 1 character", ""),
    *undrawn("prompt", "must have at most 1024 characters", "x" * 1025),
    *undrawn("negative_prompt", "must have at most 1024 characters", "x" * 1025),
    *undrawn("negative_prompt", TEXT, None),
    *unsized("width", INTEGER, True, "512", 512.0, None, [512]),
    *unsized("width", "must be at least 128", 127, -1),
    *unsized("width", "must be at most 2048", 2049),
    *unsized("width", "must fit into 64 bits", 2**63, 10**4000),
    *unsized("height", "must be at least 128", 127),
    *unsized("height", "must be at most 2048", 2049),
    *undrawn("image_num", "must be at least 1", 0),
    *undrawn("image_num", "must be at most 8", 9),
    *undrawn("steps", "must be at least 1", 0),
    *undrawn("steps", "must be at most 100", 101),
    *undrawn("guidance_scale", "must be at least 1", 0.99),
    *undrawn("guidance_scale", "must be at most 30", 30.01),
    *undrawn("guidance_scale", NUMBER, "7.5", False, None),
    *undrawn("guidance_scale", "must be a finite number", float("nan"), float("inf"), float("-inf")),
    *undrawn("seed", "must be at least -1", -2),
    *undrawn("sd_vae", TEXT, 1),
    *undrawn("clip_skip", "must be at least 1", 0),
    *undrawn("clip_skip", "must be at most 12", 13),
    *undrawn("loras", "must have at most 5 items", lora() * 6),
    *undrawn("loras", LIST, {}, "x", None),
    *undrawn("loras", OBJECT, ["x"], at=".0"),
    *undrawn("loras", RATIO_HIGH, [*lora(), *lora(strength=1.01)], at=".1.strength"),
    *undrawn("loras", RATIO_LOW, lora(strength=-0.01), at=".0.strength"),
    *undrawn("loras", "required", [{"model_name": "x"}], at=".0.strength"),
    *undrawn("embeddings", "must have at most 5 items", [{"model_name": "x"}] * 6),
    *undrawn("embeddings", "required", [{}], at=".0.model_name"),
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
    *no("inpainting", "width", "unknown field", 512),
    *no("inpainting", "height", "unknown field", 512),
    *no("inpainting", "controlnet", "unknown field", unit()),
    *no("inpainting", "strength", RATIO_HIGH, 1.01),
    *no("inpainting", "mask_blur", RATIO_LOW, -1),
    *no("inpainting", "mask_blur", "must be at most 64", 65),
    *no("inpainting", "mask_blur", INTEGER, 1.5, True, "1", None),
    *no("inpainting", "inpainting_full_res", RATIO_HIGH, 2),
    *no("inpainting", "inpainting_full_res", RATIO_LOW, -1),
    *no("inpainting", "inpainting_full_res", INTEGER, True, 1.0),
    *no("inpainting", "inpainting_full_res_padding", "must be at most 256", 257),
    *no("inpainting", "inpainting_full_res_padding", RATIO_LOW, -1),
    *no("inpainting", "inpainting_mask_invert", RATIO_HIGH, 2),
    *no("inpainting", "inpainting_mask_invert", INTEGER, False),
    *no("inpainting", "initial_noise_multiplier", "must be at most 1.5", 1.51),
    *no("inpainting", "initial_noise_multiplier", RATIO_LOW, -0.1),
    *no("inpainting", "mask_image_base64", BASE64, "QUJ*"),
    *no("inpainting", "mask_image_base64", "must be a PNG, JPEG or WEBP image", encode(b"GIF89a" + bytes(50))),
    *no("upscale", "scale_factor", "must be more than 1", 1, 0.5, -2),
    *no("upscale", "scale_factor", "must be at most 4", 4.01, 10**9),
    *no("upscale", "scale_factor", NUMBER, "2", True, None),
    *no("upscale", "image_base64", "must be a PNG, JPEG or WEBP image", encode(b"GIF89a" + bytes(50))),
    *no("upscale", "prompt", "unknown field", "a lighthouse at dawn"),
    *no("upscale", "image_num", "unknown field", 1),
]


@pytest.mark.parametrize(("operation", "field", "value", "path", "rule"), REFUSED)
def test_value_beyond_its_limits_is_refused(operation: str, field: str, value: Any, path: str, rule: str) -> None:
    told = {mistake.path: mistake.rule for mistake in check(operation, make_input(operation, **{field: value}))}
    assert told.get(path) == rule


NEEDED = ["model_name", "prompt", "image_num", "steps", "guidance_scale"]
REQUIRED = {
    "txt2img": [*NEEDED, "width", "height"],
    "img2img": [*NEEDED, "width", "height", "image_base64"],
    "inpainting": [*NEEDED, "image_base64", "mask_image_base64"],
    "upscale": ["model_name", "image_base64", "scale_factor"],
}


@pytest.mark.parametrize(
    ("operation", "field"), [(operation, field) for operation, fields in REQUIRED.items() for field in fields]
)
def test_required_field_that_is_missing_is_told(operation: str, field: str) -> None:
    body = make_input(operation)
    del body["request"][field]
    assert check(operation, body) == [Mistake(f"input.request.{field}", "required")]


ENUMS = [
    ("txt2img", {"sampler_name": "Eular a"}, "sampler_name", "did you mean `Euler a`?"),
    ("txt2img", {"sampler_name": "ddim"}, "sampler_name", "did you mean `DDIM`?"),
    ("txt2img", {"hires_fix": {**HIRES, "upscaler": "latent"}}, "hires_fix.upscaler", "did you mean `Latent`?"),
    ("img2img", {"controlnet": unit(preprocessor="cany")}, "controlnet.units.0.preprocessor", "did you mean `canny`?"),
    ("img2img", {"ip_adapters": [{**ADAPTER, "model_name": "x"}]}, "ip_adapters.0.model_name", "must be one of"),
    ("inpainting", {"sampler_name": "Eular a"}, "sampler_name", "did you mean `Euler a`?"),
    ("upscale", {"model_name": "4x-Ultrasharp"}, "model_name", "did you mean `4x-UltraSharp`?"),
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
    assert sorted(get_args(choices.Sampler)) == sorted(SAMPLERS)
    assert sorted(get_args(choices.Preprocessor)) == sorted(PREPROCESSORS)
    assert sorted(get_args(choices.HiresUpscaler)) == sorted(UPSCALERS)
    assert sorted(get_args(choices.UpscaleModel)) == sorted(UPSCALE_MODELS)


PIXELS = [
    ("img2img", "image_base64", 4000, 4000, 16),
    ("img2img", "image_base64", 16_000_000, 1, 16),
    ("inpainting", "image_base64", 4000, 4000, 16),
    ("inpainting", "mask_image_base64", 4000, 4000, 16),
    ("upscale", "image_base64", 2048, 2048, 4),
    ("upscale", "image_base64", 1024, 4096, 4),
]


@pytest.mark.parametrize(("operation", "field", "width", "height", "megapixels"), PIXELS)
def test_image_has_no_more_pixels_than_its_page_allows(
    operation: str, field: str, width: int, height: int, megapixels: int
) -> None:
    largest, larger = encode(claim_png(width, height)), encode(claim_png(width + 1, height))
    both = {"image_base64", "mask_image_base64"} & set(make_input(operation)["request"])
    assert check(operation, make_input(operation, **dict.fromkeys(both, largest))) == []
    told = {
        mistake.path: mistake.rule for mistake in check(operation, make_input(operation, **dict.fromkeys(both, larger)))
    }
    assert set(told) == {f"input.request.{name}" for name in both}
    assert told[f"input.request.{field}"].startswith(
        f"must have at most {megapixels} megapixels, but has {width + 1} x"
    )


BYTES = [
    ("img2img", "image_base64", 10),
    ("img2img", "controlnet.units.0.image_base64", 10),
    ("inpainting", "image_base64", 30),
    ("inpainting", "mask_image_base64", 30),
    ("upscale", "image_base64", 30),
]


@pytest.mark.parametrize("excess", [0, 1, 4])
@pytest.mark.parametrize(("operation", "where", "mebibytes"), BYTES)
def test_image_file_is_no_larger_than_its_page_allows(operation: str, where: str, mebibytes: int, excess: int) -> None:
    text = encode(draw_picture().ljust(mebibytes * MIB + excess, b"\0"))
    change = {"controlnet": unit(image_base64=text)} if where.startswith("controlnet") else {where: text}
    rule = f"must decode to at most {mebibytes} MiB"
    expected = [Mistake(f"input.request.{where}", rule, f"a string of {len(text)} characters")] if excess else []
    assert check(operation, make_input(operation, **change)) == expected
