"""What an input says about how its outputs came to be: model, seed and pictures, wherever a provider has them."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest

from service.providers.contract import CheckedInput
from service.providers.describing import Described, Reference, describe
from service.providers.registry import PROVIDERS

PICTURE = bytes(range(256))
TEXT = base64.b64encode(PICTURE).decode()
HERE: Any = {"sha256": hashlib.sha256(PICTURE).digest(), "bytes": 256}


@pytest.mark.parametrize(
    ("body", "model", "seed"),
    [
        ({"request": {"model_name": "sd_xl_base_1.0.safetensors", "seed": 7}}, "sd_xl_base_1.0.safetensors", 7),
        ({"request": {"model_name": "inner"}, "model": "outer", "seed": 1}, "inner", 1),
        ({"model_id": "flux", "seed": "42"}, "flux", "42"),
        ({"model_id": "flux", "seed": None}, "flux", None),
        ({"model": "seedream", "seed": -1}, "seedream", -1),
        ({"model_name": 7, "seed": True}, None, None),
        ({"request": "text", "prompt": "a lighthouse"}, None, None),
        ({}, None, None),
    ],
)
def test_model_and_seed_are_found_where_the_providers_have_them(body: dict[str, Any], model: Any, seed: Any) -> None:
    assert describe(body) == Described(model, seed, ())


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"request": {"image_base64": TEXT}}, "request.image_base64"),
        ({"request": {"mask_image_base64": TEXT}}, "request.mask_image_base64"),
        (
            {"request": {"controlnet": {"units": [{}, {"image_base64": TEXT}]}}},
            "request.controlnet.units[1].image_base64",
        ),
        ({"images": [f"data:image/png;base64,{TEXT}"]}, "images[0]"),
        ({"init_image": TEXT, "base64": "yes"}, "init_image"),
    ],
)
def test_a_picture_in_the_body_is_told_by_its_digest(body: dict[str, Any], path: str) -> None:
    assert describe(body).references == (Reference(path, **HERE),)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("https://images.example/a.png?token=secret#here", "https://images.example/a.png"),
        ("HTTP://user:secret@images.example:8443/a", "http://images.example:8443/a"),
        ("https://[not-an-address/a.png", None),
    ],
)
def test_a_link_is_told_without_what_may_be_secret(url: str, told: str | None) -> None:
    assert describe({"init_image": url}).references == (Reference("init_image", url=told),)
    assert "secret" not in repr(describe({"init_image": url}))


@pytest.mark.parametrize(
    "body",
    [
        {"extra": {"response_image_type": "jpeg"}, "image_num": 4},
        {"image": "x" * 63},
        {"image": "no base64, however long: " + "é" * 100},
        {"image": TEXT[:-1] + "!"},
        {"prompt": TEXT, "lora": "https://models.example/a"},
        {"image": None, "mask": 7, "images": [[], {}]},
    ],
)
def test_what_is_no_picture_is_not_taken_for_one(body: dict[str, Any]) -> None:
    assert describe(body).references == ()


@pytest.mark.parametrize(
    ("provider", "operation"),
    [(name, each) for name, provider in PROVIDERS.items() for each in provider.operations],
)
def test_every_documented_example_is_described(provider: str, operation: str) -> None:
    example = PROVIDERS[provider].operations[operation].example
    checked = PROVIDERS[provider].check_input(operation, example)
    assert isinstance(checked, CheckedInput)
    found = describe(checked.body)
    assert found.model is not None or operation.startswith("seedream")
    pictures = {"img2img", "inpaint", "inpainting", "seedream-4.0", "seedream-4.5", "upscale"}
    assert bool(found.references) == (operation in pictures), found
