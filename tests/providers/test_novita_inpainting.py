"""The mask of an inpainting is as large as its image."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.providers.contract import Mistake
from service.providers.novita.tasks.pictures import read_size

from .arbitrary import QUICK, json_values
from .bodies import accept, check, claim_png, draw_picture, encode, make_input

MASK = "input.request.mask_image_base64"


def body(image: bytes, mask: bytes, **request: Any) -> dict[str, Any]:
    return make_input("inpainting", image_base64=encode(image), mask_image_base64=encode(mask), **request)


@pytest.mark.parametrize("kinds", [("PNG", "PNG"), ("JPEG", "PNG"), ("WEBP", "JPEG")])
def test_mask_of_the_same_size_is_accepted_whatever_its_format(kinds: tuple[str, str]) -> None:
    accept("inpainting", body(draw_picture(kinds[0], 40, 30), draw_picture(kinds[1], 40, 30)))


@pytest.mark.parametrize("size", [(30, 40), (40, 31), (80, 60), (1, 1)])
def test_mask_of_another_size_is_refused_with_both_sizes(size: tuple[int, int]) -> None:
    assert check("inpainting", body(draw_picture("PNG", 40, 30), draw_picture("JPEG", *size))) == [
        Mistake(MASK, "must be as large as image_base64: 40 x 30 pixels", f"{size[0]} x {size[1]} pixels")
    ]


def test_mask_of_another_size_is_told_with_every_other_mistake() -> None:
    wrong = body(draw_picture("PNG", 40, 30), draw_picture("PNG", 30, 40), mask_blur=65, widht=1)
    assert {mistake.path for mistake in check("inpainting", wrong)} == {
        MASK,
        "input.request.mask_blur",
        "input.request.widht",
    }


def test_mask_that_is_wrong_in_itself_is_told_once() -> None:
    mistakes = check("inpainting", body(draw_picture("PNG", 40, 30), claim_png(8000, 8000)))
    assert [mistake.path for mistake in mistakes] == [MASK]
    assert mistakes[0].rule.startswith("must have at most 16 megapixels")


def test_size_is_found_behind_a_long_header() -> None:
    photo = draw_picture("JPEG", 40, 30)
    padding = b"\xff\xe1\xff\xff" + bytes(0xFFFD)
    accept("inpainting", body(photo[:2] + padding * 3 + photo[2:], draw_picture("PNG", 40, 30)))
    told = check("inpainting", body(photo[:2] + padding * 3 + photo[2:], draw_picture("PNG", 30, 40)))
    assert [mistake.path for mistake in told] == [MASK]


@QUICK
@given(value=json_values(["image_base64"]) | st.binary().map(encode) | st.text("QUJD=+/\n", max_size=40))
def test_size_of_anything_is_a_size_or_none(value: Any) -> None:
    size = read_size(value)
    assert size is None or (size[0] > 0 and size[1] > 0)
