"""Every example in `examples/` is what its operation documents, and goes all the way: in test mode, and for real."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from service.cli.curl_command import read_curl
from service.providers.examples import list_examples
from service.providers.registry import PROVIDERS
from tests.world import World

FOLDER = Path(__file__).parents[2] / "examples"
OPERATIONS = [(provider, operation) for provider, found in PROVIDERS.items() for operation in found.operations]
MAKE = "python -m service.providers.examples examples"


def test_every_operation_has_an_example_and_every_example_its_operation() -> None:
    found = {str(path.relative_to(FOLDER)) for provider in PROVIDERS for path in (FOLDER / provider).rglob("*.json")}
    assert found == {f"{provider}/{operation}.json" for provider, operation in OPERATIONS}, MAKE


@pytest.mark.parametrize(("provider", "operation"), OPERATIONS)
def test_an_example_is_the_operations_own_and_passes_its_check(provider: str, operation: str) -> None:
    text = (FOLDER / provider / f"{operation}.json").read_text(encoding="utf-8")
    assert text == list_examples()[f"{provider}/{operation}.json"], MAKE
    checked = PROVIDERS[provider].check_input(operation, json.loads(text))
    assert not isinstance(checked, list), checked


@pytest.mark.parametrize(("provider", "operation"), OPERATIONS)
async def test_an_example_ends_in_stored_objects_and_in_test_mode_in_mocks(
    world: World, provider: str, operation: str
) -> None:
    given = json.loads((FOLDER / provider / f"{operation}.json").read_text(encoding="utf-8"))
    mock = await world.run(provider=provider, operation=operation, input=given, test_mode={"enabled": True})
    assert (mock["status"], mock["test"], mock["verified_by"]) == ("succeeded", True, "token"), mock
    assert {output["status"] for output in mock["outputs"]} == {"mock"}
    assert world.keys() == []
    assert world.sandbox.paid == []

    job = await world.run(provider=provider, operation=operation, input=given)
    assert (job["status"], job["error"]) == ("succeeded", None), job
    assert job["outputs"]
    for output in job["outputs"]:
        stored = world.s3.read(world.bucket, output["key"])
        assert hashlib.sha256(stored).hexdigest() == output["sha256"]
    assert len(world.keys()) == len(job["outputs"])


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.curl")), ids=lambda path: path.name)
def test_a_curl_command_posts_its_operations_example(path: Path) -> None:
    command = read_curl(path.read_text(encoding="utf-8"), str(path))
    provider, operation = path.parent.name, path.stem
    assert command.path == PROVIDERS[provider].operations[operation].path
    without_key = {name: value for name, value in command.body.items() if name != "key"}
    assert without_key == PROVIDERS[provider].operations[operation].example
