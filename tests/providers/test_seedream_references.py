"""Seedream's reference images: URLs, and data URIs that are checked by what is in them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.providers.contract import Mistake

from .arbitrary import QUICK
from .bodies import accept, check, claim_png, draw_picture, encode

V40, V45 = "seedream-4.0", "seedream-4.5"
BOTH = (V40, V45)
FIELD = {V40: "images", V45: "image"}
FORMATS = {V40: ["jpeg", "png"], V45: ["jpeg", "png", "webp", "bmp", "tiff", "gif"]}
MIB = 2**20


def uri(data: bytes, name: str = "png") -> str:
    return f"data:image/{name};base64,{encode(data)}"


def make(operation: str, *references: Any) -> dict[str, Any]:
    return {"prompt": "a lighthouse at dawn", FIELD[operation]: list(references)}


def rule_of(operation: str, reference: str) -> str | None:
    """Return the rule that a reference breaks, None for a good one; whatever is wrong, it is not shown."""
    mistakes = check(operation, make(operation, reference))
    if not mistakes:
        return None
    assert [mistake.path for mistake in mistakes] == [f"input.{FIELD[operation]}.0"]
    assert mistakes[0].got == f"a string of {len(reference)} characters"
    return mistakes[0].rule


@pytest.mark.parametrize(("operation", "name"), [(v, name) for v in BOTH for name in FORMATS[v]])
def test_documented_format_is_accepted_and_sent_as_it_is(operation: str, name: str) -> None:
    body = make(operation, uri(draw_picture(name.upper(), 40, 20), name))
    assert accept(operation, body).body == body


@pytest.mark.parametrize("name", ["webp", "bmp", "tiff", "gif"])
def test_4_0_reads_only_jpeg_and_png(name: str) -> None:
    picture = draw_picture(name.upper(), 40, 20)
    wanted = "`data:image/<format>;base64,<base64>` with one of the formats jpeg, png"
    assert rule_of(V40, uri(picture, name)) == f"must be {wanted}"
    # The label does not help: what is inside counts.
    assert rule_of(V40, uri(picture, "png")) == f"must be an image of another format: jpeg, png, but is {name}"


@pytest.mark.parametrize("operation", BOTH)
def test_usual_alias_of_a_format_is_understood(operation: str) -> None:
    assert rule_of(operation, uri(draw_picture("JPEG", 40, 20), "jpg")) is None
    assert (rule_of(operation, uri(draw_picture("TIFF", 40, 20), "tif")) is None) is (operation == V45)


@pytest.mark.parametrize("operation", BOTH)
@pytest.mark.parametrize(
    "url", ["https://images.example/a.png", "http://images.example/a?b=c", "HTTPS://images.example/" + "x" * 8000]
)
def test_url_is_accepted_unseen(operation: str, url: str) -> None:
    assert rule_of(operation, url) is None


@pytest.mark.parametrize("operation", BOTH)
@pytest.mark.parametrize(
    "reference",
    [
        "",
        "https://",
        "ftp://images.example/a.png?token=secret",
        "file:///etc/hostname",
        "//images.example/a.png",
        "https://images.example/a b.png",
        " https://images.example/a.png",
        "images.example/a.png",
        encode(draw_picture()),
    ],
)
def test_neither_url_nor_data_uri_is_refused(operation: str, reference: str) -> None:
    rule = rule_of(operation, reference)
    assert rule is not None
    assert rule.startswith("must be an http or https URL, or `data:image/<format>;base64,<base64>`")


PNG = encode(draw_picture("PNG", 40, 20))


@pytest.mark.parametrize("operation", BOTH)
@pytest.mark.parametrize(
    "reference",
    [
        "data:",
        "data:image/png",
        f"data:image/png,{PNG}",
        f"data:image/png;charset=utf-8;base64,{PNG}",
        f"data:image/png;base64;{PNG}",
        f"data:image/png;BASE64,{PNG}",
        f"data:image/PNG;base64,{PNG}",
        f"DATA:image/png;base64,{PNG}",
        f"data:image/;base64,{PNG}",
        f"data:image/svg+xml;base64,{PNG}",
        f"data:image/heic;base64,{PNG}",
        f"data:text/plain;base64,{PNG}",
        f"data:;base64,{PNG}",
        f"data:image/<image format>;base64,{PNG}",
    ],
)
def test_data_uri_of_another_form_is_refused(operation: str, reference: str) -> None:
    rule = rule_of(operation, reference)
    assert rule is not None
    assert rule.startswith("must be `data:image/<format>;base64,<base64>` with one of the formats jpeg, png")


ALPHABET = "must be base64: A-Z a-z 0-9 + /, padded with =, without line breaks"


@pytest.mark.parametrize("operation", BOTH)
@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "must not be empty"),
        (PNG[:-1], ALPHABET),
        (PNG + "\n", ALPHABET),
        (PNG + "====", ALPHABET),
        (" " + PNG, ALPHABET),
        ("-_" + PNG[2:], ALPHABET),
        ("é" + PNG[1:], ALPHABET),
        (PNG + "%3D", ALPHABET),
        (encode(b"a lighthouse at dawn"), "must be a whole image: jpeg, png"),
        (PNG[:24], "must be a whole image: jpeg, png"),
        (f"data:image/png;base64,{PNG}", "must be plain base64"),
    ],
)
def test_content_that_is_no_image_is_refused(operation: str, text: str, rule: str) -> None:
    told = rule_of(operation, f"data:image/png;base64,{text}")
    assert told is not None
    assert told.startswith(rule)


def pad(picture: bytes, size: int) -> bytes:
    return picture + bytes(size - len(picture))


@pytest.mark.parametrize("operation", BOTH)
def test_reference_has_at_most_10_mib(operation: str) -> None:
    picture = draw_picture("PNG", 40, 20)
    assert rule_of(operation, uri(pad(picture, 10 * MIB))) is None
    assert rule_of(operation, uri(pad(picture, 10 * MIB + 1))) == "must decode to at most 10 MiB"


RATIO, SIDES, PIXELS = (
    "an aspect ratio between 1/3 and 3",
    "sides of more than 14 pixels",
    "at most 6000 x 6000 pixels in all",
)
SIZES = [
    (15, 15, ()),
    (14, 15, (SIDES,)),
    (15, 14, (SIDES,)),
    (15, 45, ()),
    (45, 15, ()),
    (15, 46, (RATIO,)),
    (46, 15, (RATIO,)),
    (1, 100, (SIDES, RATIO)),
    (6000, 6000, ()),
    (6000, 6001, (PIXELS,)),
    (12000, 4000, (PIXELS,)),
    (10392, 3464, ()),
    (2**31 - 1, 1, (SIDES, RATIO, PIXELS)),
]


@pytest.mark.parametrize("operation", BOTH)
@pytest.mark.parametrize(("width", "height", "broken"), SIZES)
def test_reference_has_documented_measures(operation: str, width: int, height: int, broken: tuple[str, ...]) -> None:
    rule = rule_of(operation, uri(claim_png(width, height)))
    said = f"must have {' and '.join(broken)}, but has {width} x {height} pixels"
    assert rule == (said if broken else None)


@pytest.mark.parametrize("name", FORMATS[V45])
def test_measures_of_every_format_are_read(name: str) -> None:
    told = rule_of(V45, uri(draw_picture(name.upper(), 10, 60), name))
    assert told == f"must have {SIDES} and {RATIO}, but has 10 x 60 pixels"


@pytest.mark.parametrize("operation", BOTH)
def test_every_wrong_reference_is_told_by_its_place(operation: str) -> None:
    good = uri(draw_picture("PNG", 40, 20))
    mistakes = check(operation, make(operation, good, "nowhere", good, uri(claim_png(10, 10)), 5))
    assert [mistake.path.rsplit(".", 1)[1] for mistake in mistakes] == ["1", "3", "4"]


@pytest.mark.parametrize("operation", BOTH)
def test_misplaced_data_uri_is_never_shown(operation: str) -> None:
    picture = uri(draw_picture("PNG", 40, 20))
    for body in (
        {"prompt": "a lighthouse", FIELD[operation]: picture},
        {"prompt": "a lighthouse", "size": picture},
        {"prompt": "a lighthouse", "sequential_image_generation": picture},
        {"prompt": "a lighthouse", "watermark": picture},
        {"prompt": "a lighthouse", "max_images": picture, "images": picture, "image": picture},
        picture,
    ):
        mistakes = check(operation, body)
        assert mistakes
        assert "base64," not in repr(mistakes).replace("base64,<base64>", "")
        assert picture[30:60] not in repr(mistakes)


def test_large_references_are_sent_as_they_came_and_not_copied() -> None:
    picture = uri(pad(draw_picture("PNG", 40, 20), 9 * MIB))
    assert accept(V40, make(V40, *[picture] * 3)).body["images"][2] is picture


@pytest.mark.parametrize("operation", BOTH)
@QUICK
@given(data=st.binary(max_size=100), name=st.sampled_from(["png", "jpeg", "gif", "exe"]))
def test_random_content_is_judged_without_an_exception(operation: str, data: bytes, name: str) -> None:
    rule_of(operation, uri(data, name))


@pytest.mark.parametrize("operation", BOTH)
@QUICK
@given(text=st.text(max_size=60))
def test_random_text_is_judged_without_an_exception(operation: str, text: str) -> None:
    for reference in (text, "data:" + text, "data:image/png;base64," + text):
        mistakes = check(operation, make(operation, reference))
        assert all(isinstance(mistake, Mistake) for mistake in mistakes)
        json.dumps([mistake.rule for mistake in mistakes])
