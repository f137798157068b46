"""docs/adding-a-provider.md: it names what exists, and every registered provider has taken its steps."""

from __future__ import annotations

import ast
import importlib
import json
import re
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from starlette.routing import Match

from config.providers import ProvidersSettings
from service.providers import contract
from service.providers.contract import OperationConfig, ProviderAccess
from service.providers.registry import PROVIDERS
from service.sandbox.app import sandbox_app
from service.sandbox.settings import SandboxSettings

from .recorded import load_samples

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "adding-a-provider.md").read_text(encoding="utf-8")
STEPS = [step for step in re.split(r"\n(?=\d+\. \*\*)", PAGE) if step[0].isdigit()]
ACCESS = ProviderAccess("https://provider.example", "our-own-key")

each_provider = pytest.mark.parametrize("name", PROVIDERS)
each_operation = pytest.mark.parametrize(
    ("name", "operation"), [(name, each) for name, provider in PROVIDERS.items() for each in provider.operations]
)


# --- The page -------------------------------------------------------------------------------------------------------


def find_named(pattern: str) -> list[str]:
    """Return what stands in backticks and looks like the pattern, with `<name>` filled in by each provider."""
    named = [text for text in re.findall(r"`([^`\n]+)`", PAGE) if re.fullmatch(pattern, text)]
    return [text.replace("<name>", name) for text in named for name in (PROVIDERS if "<name>" in text else [""])]


@cache
def list_tests(path: Path) -> set[str]:
    parts = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return {part.name for part in parts if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_page_names_only_files_that_exist() -> None:
    files = find_named(r"(service|tests|config|docs|examples)/[\w./<>*-]+|[A-Z]+\.md")
    assert len(files) > 15
    assert [file for file in files if not list(ROOT.glob(file.rstrip("/")))] == []


def test_page_names_only_tests_that_exist() -> None:
    tests = [text.split("::") for text in find_named(r"[\w./]+\.py::\w+")]
    assert len(tests) > 15
    assert [f"{file}::{name}" for file, name in tests if name not in list_tests(ROOT / file)] == []


def test_every_step_names_the_test_that_fails_without_it() -> None:
    assert len(STEPS) == 12
    assert [step.splitlines()[0] for step in STEPS if not re.search(r"Test: `tests/\S+::test_\w+`", step)] == []


def test_page_repeats_no_signatures() -> None:
    methods = [name for name in vars(contract.Provider) if not name.startswith("_")]
    assert "look_up_call" in methods
    assert [name for name in methods if f"{name}(" in PAGE] == []


# --- What it asks for, of every provider ----------------------------------------------------------------------------


def test_every_package_of_providers_is_registered() -> None:
    folder = ROOT / "service" / "providers"
    packages = {path.parent.name for path in folder.glob("*/__init__.py")}
    assert packages == set(PROVIDERS)


@each_provider
def test_module_says_where_its_facts_are_from_and_when_they_were_checked(name: str) -> None:
    says = importlib.import_module(f"service.providers.{name}").__doc__ or ""
    assert re.search(r"https://\S+\.\S+/\S+", says)
    assert re.search(r"checked 20[0-9]{2}-(0[1-9]|1[0-2])\b", says)


@each_provider
def test_provider_has_a_section_of_settings(name: str) -> None:
    section = getattr(ProvidersSettings(), name)
    assert section.base_url.startswith("https://")
    assert section.output_hosts


@each_provider
def test_provider_has_recorded_samples(name: str) -> None:
    assert {sample.reads for sample in load_samples(name)} == {"input", "submit", "look_up", "callback"}


@each_operation
def test_operation_has_an_example_in_a_file_of_its_own(name: str, operation: str) -> None:
    example = PROVIDERS[name].operations[operation].example
    assert example is not None
    written = (ROOT / "examples" / name / f"{operation}.json").read_text(encoding="utf-8")
    assert json.loads(written) == example, "run: python -m service.providers.examples examples"


def is_served(method: str, url: str) -> bool:
    scope = {"type": "http", "method": method, "path": urlsplit(url).path, "root_path": "", "headers": []}
    app = sandbox_app(SandboxSettings())
    return any(route.matches(scope)[0] is Match.FULL for route in app.routes)


@each_operation
def test_sandbox_serves_every_operation_and_its_look_up(name: str, operation: str) -> None:
    shown = PROVIDERS[name].operations[operation]
    assert is_served("POST", shown.path)
    if shown.answers == "task":
        call = PROVIDERS[name].look_up_call(ACCESS, operation, "73fab7c0")
        assert is_served(call.method, call.url)


def test_sandbox_does_not_serve_everything() -> None:
    moved = PROVIDERS["modelslab"].configured({"inpaint": OperationConfig(path="/v9/elsewhere")})
    assert not is_served("POST", moved.operations["inpaint"].path)
    assert not is_served("POST", "/v3/async/no-such-thing/at-all")


def find_rows(name: str) -> list[str]:
    """Return the rows of the README's table of providers whose first cell names the provider."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    section = readme.partition("\n## Providers\n")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ")]
    return [row for row in rows if name in re.sub(r"[^a-z0-9]", "", row.split("|")[1].lower())]


@each_provider
def test_readme_has_a_row_that_names_every_operation(name: str) -> None:
    rows = find_rows(name)
    assert rows
    assert [each for each in PROVIDERS[name].operations if not any(f"`{each}`" in row for row in rows)] == []


@each_provider
def test_readme_says_in_each_row_what_the_provider_was_tested_with(name: str) -> None:
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in find_rows(name)]
    assert [row for row in cells if len(row) != 5 or not all(row)] == []
