"""docs/sandbox.md tells of everything that the sandbox has."""

from __future__ import annotations

import re
from pathlib import Path

from starlette.routing import Route

from service.sandbox import SandboxSettings, sandbox_app
from service.sandbox.faults import FAULTS
from service.sandbox.modelslab.routes import GENERATIONS

PAGE = (Path(__file__).parents[2] / "docs" / "sandbox.md").read_text()


def test_every_route_is_on_the_page_and_no_other() -> None:
    routes = [route for route in sandbox_app(SandboxSettings()).routes if isinstance(route, Route)]
    served = {
        (method, re.sub(r":\w+}", "}", it.path)) for it in routes for method in (it.methods or ()) if method != "HEAD"
    }
    told = {(method, path.partition("?")[0]) for method, path in re.findall(r"`(GET|POST) (/[^`]*)`", PAGE)}

    assert told == served


def test_what_modelslab_generates_is_on_the_page() -> None:
    assert all(f"`{name}`" in PAGE for name in GENERATIONS)


def test_the_faults_it_names_are_on_the_menu() -> None:
    named = re.findall(r"\[fault:([^\]]+)\]", PAGE)
    names = {part.partition("=")[0].strip() for marker in named for part in marker.split(",")}

    assert names <= set(FAULTS)
    assert len(names) > 3
