"""Destinations that Amazon's S3 refuses whatever the bucket, and other servers perhaps not."""

from __future__ import annotations

from typing import Any

import botocore.session
import pytest
from pydantic import ValidationError

from service.outputs.aws_rules import STORAGE_CLASSES
from service.outputs.destination_input import shape_of
from tests.outputs.destination_rows import body

ELSEWHERE = {"endpoint_url": "https://s3.example.com"}

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"bucket": "acme..renders"}, "two dots"),
    ({"bucket": "192.168.5.4"}, "IP address"),
    ({"bucket": "xn--acme"}, "begin"),
    ({"bucket": "sthree-acme"}, "begin"),
    ({"bucket": "acme-s3alias"}, "end in"),
    ({"bucket": "acme--ol-s3"}, "end in"),
    ({"bucket": "acme--use1-az4--x-s3"}, "end in"),
    ({"bucket": "acme.mrap"}, "end in"),
    ({"storage_class": "COLD"}, "must be one of STANDARD,"),
    ({"tags": {"aws:team": "renders"}}, "aws:"),
    ({"tags": {"AWS:team": "renders"}}, "aws:"),
    ({"tags": {"team!": "renders"}}, "may only hold"),
    ({"tags": {"team": "a,b"}}, "may only hold"),
    ({"tags": {"team": "\U0001f3a8"}}, "may only hold"),
]


@pytest.mark.parametrize(("changes", "rule"), REFUSED)
def test_what_amazon_never_takes_is_refused_by_its_field(changes: dict[str, Any], rule: str) -> None:
    given = body(**changes)
    with pytest.raises(ValidationError) as raised:
        shape_of(given).model_validate(given)
    (mistake,) = raised.value.errors()
    assert mistake["loc"] == tuple(changes)
    assert rule in mistake["msg"]


@pytest.mark.parametrize("changes", [changes for changes, _ in REFUSED])
def test_other_servers_have_rules_of_their_own(changes: dict[str, Any]) -> None:
    given = body(**changes, **ELSEWHERE)
    ((field, value),) = changes.items()
    assert shape_of(given).model_validate(given).public()[field] == value


def test_an_endpoint_that_is_wrong_itself_is_the_only_mistake() -> None:
    given = body(bucket="acme..renders", endpoint_url=1)
    with pytest.raises(ValidationError) as raised:
        shape_of(given).model_validate(given)
    assert [mistake["loc"] for mistake in raised.value.errors()] == [("endpoint_url",)]


@pytest.mark.parametrize(
    "changes",
    [
        {"bucket": "acme.renders"},
        {"bucket": "1.2.3.4.5"},
        {"bucket": "s3alias"},
        {"tags": {"team": "", "équipe 2/α": "+-=._:/@ 日本", "paws:x": "aws:x"}},
        *({"storage_class": each} for each in STORAGE_CLASSES),
        {"storage_class": None, "tags": {}},
        {"region": "eu-central-1"},
        {"region": "x" * 40},
        {"region": "x"},
    ],
)
def test_what_amazon_takes_is_taken(changes: dict[str, Any]) -> None:
    given = body(**changes)
    assert changes.items() <= shape_of(given).model_validate(given).public().items()


@pytest.mark.parametrize("region", ["-", "-us-east-1", "us-east-1-", "", "x" * 41])
def test_a_region_begins_and_ends_with_a_letter_or_digit_everywhere(region: str) -> None:
    given = body(region=region, **ELSEWHERE)
    with pytest.raises(ValidationError):
        shape_of(given).model_validate(given)


def test_the_storage_classes_are_those_that_the_client_library_knows() -> None:
    model = botocore.session.get_session().get_service_model("s3")
    assert list(STORAGE_CLASSES) == model.shape_for("StorageClass").enum
