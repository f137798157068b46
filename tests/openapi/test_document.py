"""The document is whole, valid, of this code, and true of its own examples."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from starlette.routing import Route
from typer.testing import CliRunner

from handlers.app import make_app
from handlers.openapi.document import make_document
from handlers.openapi.operations import OPERATIONS
from handlers.openapi.outcomes import STATUSES
from handlers.problems import TITLES
from service.cli.commands import app
from service.events.types import ACCOUNT_TYPES, JOB_TYPES, TEST
from service.providers.registry import PROVIDERS
from tests.contract import validator
from tests.world import World

COMMITTED = Path(__file__).parents[2] / "docs" / "openapi.json"
DOCUMENT = make_document()


def nodes(node: Any, place: str = "#") -> Iterator[tuple[str, dict[str, Any]]]:
    """Walk through every object of the document."""
    if isinstance(node, dict):
        yield place, node
        for name, part in node.items():
            yield from nodes(part, f"{place}/{name.replace('/', '~1')}")
    elif isinstance(node, list):
        for number, part in enumerate(node):
            yield from nodes(part, f"{place}/{number}")


def resolve(node: dict[str, Any]) -> dict[str, Any]:
    """Follow a reference."""
    while "$ref" in node:
        found: Any = DOCUMENT
        for name in node["$ref"].removeprefix("#/").split("/"):
            found = found[name.replace("~1", "/")]
        node = found
    return node


def test_it_is_valid_openapi() -> None:
    assert DOCUMENT["openapi"].startswith("3.1")
    OpenAPIV31SpecValidator(DOCUMENT).validate()


def test_the_committed_copy_is_what_the_code_makes() -> None:
    made = json.dumps(DOCUMENT, indent=2, ensure_ascii=False) + "\n"
    assert COMMITTED.read_text(encoding="utf-8") == made, "run: .venv/bin/genrelay openapi --output docs/openapi.json"


async def test_every_route_has_an_operation_and_every_operation_a_route(world: World) -> None:
    routes = set()
    for route in make_app(world.service).routes:
        assert isinstance(route, Route)
        routes |= {(method, route.path) for method in (route.methods or {"POST"}) - {"HEAD"}}
    assert routes == set(OPERATIONS)


def test_every_problem_has_one_status_and_may_come_from_somewhere() -> None:
    assert set(STATUSES) == set(TITLES)
    possible = {code for operation in OPERATIONS.values() for code in operation.codes()}
    # These come before a route is found.
    assert set(TITLES) - possible == {"method_not_allowed", "head_too_large"}


def test_operation_ids_are_unique_and_stay_as_they_are() -> None:
    operations = [node for _, node in nodes([DOCUMENT["paths"], DOCUMENT["webhooks"]]) if "responses" in node]
    ids = [node["operationId"] for node in operations]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", each) for each in ids)
    known = (Path(__file__).parent / "operation_ids.txt").read_text().split()
    assert sorted(ids) == known, "generated clients name their functions after these: add new ones, change none"


def test_every_operation_is_explained() -> None:
    for place, node in nodes([DOCUMENT["paths"], DOCUMENT["webhooks"]]):
        if "responses" in node:
            assert node["description"].endswith("."), place
            assert node["summary"][0].isupper() and not node["summary"].endswith("."), place
            assert node["tags"][0] in {tag["name"] for tag in DOCUMENT["tags"]}, place
            assert all(each["description"] for each in node.get("parameters", ())), place


def test_every_type_of_event_has_a_webhook() -> None:
    assert list(DOCUMENT["webhooks"]) == [*JOB_TYPES, *ACCOUNT_TYPES, TEST]


def test_every_reference_leads_somewhere_and_every_schema_is_used() -> None:
    used = {node["$ref"] for _, node in nodes(DOCUMENT) if isinstance(node.get("$ref"), str)}
    assert all(resolve({"$ref": each}) for each in used)
    schemas = {f"#/components/schemas/{name}" for name in DOCUMENT["components"]["schemas"]}
    assert schemas <= used


def test_the_input_of_every_operation_is_the_schema_that_checks_it() -> None:
    job = DOCUMENT["components"]["schemas"]["JobRequest"]
    told = {
        (each["properties"]["provider"]["const"], each["properties"]["operation"]["const"]): each
        for each in job["oneOf"]
    }
    operations = {
        (name, each): found for name, provider in PROVIDERS.items() for each, found in provider.operations.items()
    }
    assert set(told) == set(operations)
    for names, operation in operations.items():
        checks = validator(told[names]["properties"]["input"])
        checks.validate(operation.example)
        with pytest.raises(Exception, match="Additional properties"):
            checks.validate({**operation.example, "no_such_field": 1})


def _examples() -> Iterator[tuple[str, Any, Any]]:
    for place, node in nodes({name: DOCUMENT[name] for name in ("paths", "webhooks", "components")}):
        if "schema" in node:
            found = [node["example"]] if "example" in node else []
            found += [resolve(each)["value"] for each in node.get("examples", {}).values()]
            yield from ((place, node["schema"], each) for each in found)


def test_every_example_fits_its_schema() -> None:
    examples = list(_examples())
    assert len(examples) > 100
    for place, schema, value in examples:
        mistakes = [error.message for error in validator(schema).iter_errors(value)]
        assert not mistakes, (place, mistakes)


def test_the_command_prints_it_without_settings_or_database(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GENRELAY_DATABASE_URL", "nonsense")
    printed = CliRunner().invoke(app, ["openapi", "--json"])
    assert printed.exit_code == 0, printed.output
    assert json.loads(printed.stdout) == DOCUMENT
    written = CliRunner().invoke(app, ["openapi", "--output", str(tmp_path / "made.json")])
    assert written.exit_code == 0 and written.stdout == ""
    assert json.loads((tmp_path / "made.json").read_text(encoding="utf-8")) == DOCUMENT
    refused = CliRunner().invoke(app, ["openapi", "--output", str(tmp_path / "no" / "such.json")])
    assert refused.exit_code == 1


def test_with_a_public_url_it_names_the_server() -> None:
    assert make_document("https://relay.example")["servers"] == [{"url": "https://relay.example"}]
    assert DOCUMENT["servers"] == [{"url": "/"}]
