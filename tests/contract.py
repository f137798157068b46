"""Every answer that a test gets is held against the document of the contract: its route, status, headers, body.

In here nothing may have fields that the document does not name, although clients are told to expect some.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import httpx
from jsonschema import Draft202012Validator, FormatChecker
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012
from starlette.routing import compile_path

from handlers.accept import EVENT_STREAM
from handlers.openapi.document import make_document
from handlers.openapi.operations import OPERATIONS
from handlers.openapi.schemas import ANSWERS

_HOME = "urn:genrelay"
# These come before a route is known, or its method.
_ANYWHERE = {404, 405, 431}


@cache
def document() -> Any:
    """Return the document with references that lead to it from everywhere, and answers that are closed."""
    found = json.loads(json.dumps(make_document()).replace('"#/components', f'"{_HOME}#/components'))
    for name in ANSWERS:
        _close(found["components"]["schemas"][name])
    return found


def _close(node: Any) -> None:
    if isinstance(node, list):
        for part in node:
            _close(part)
    if isinstance(node, dict):
        if node.get("type") in ("object", ["object", "null"]) and "properties" in node:
            node.setdefault("additionalProperties", False)
        for part in node.values():
            _close(part)


@cache
def _registry() -> Registry[Any]:
    return Registry().with_resource(_HOME, Resource(document(), DRAFT202012))


def validator(schema: Any) -> Draft202012Validator:
    """Return what checks a value against a schema of the document."""
    here = json.loads(json.dumps(schema).replace('"#/components', f'"{_HOME}#/components'))
    return Draft202012Validator(here, registry=_registry(), format_checker=FormatChecker())


@cache
def _routes() -> list[tuple[Any, str]]:
    return [(compile_path(path)[0], path) for path in dict.fromkeys(path for _, path in OPERATIONS)]


async def check_answer(answer: httpx.Response) -> None:
    """Raise AssertionError unless the document has such an answer; a hook for the tests' client."""
    request = answer.request
    path = next((path for pattern, path in _routes() if pattern.match(request.url.path)), None)
    operation = document()["paths"].get(path, {}).get(request.method.lower())
    if operation is None:
        assert answer.status_code in _ANYWHERE or request.method == "HEAD", (request.method, request.url.path)
        return
    if answer.status_code == 431:
        return
    said = f"{request.method} {path} answers {answer.status_code}"
    documented = operation["responses"].get(str(answer.status_code))
    assert documented is not None, f"{said}, which the document does not know"
    documented = _resolve(documented)
    _check_headers(said, documented, answer)
    await _check_body(said, documented.get("content", {}), answer)


def _resolve(node: Any) -> Any:
    while "$ref" in node:
        found = document()
        for name in node["$ref"].removeprefix(f"{_HOME}#/").split("/"):
            found = found[name]
        node = found
    return node


def _check_headers(said: str, documented: Any, answer: httpx.Response) -> None:
    for name, said_of_it in documented["headers"].items():
        header = _resolve(said_of_it)
        assert name in answer.headers or not header.get("required"), f"{said} without {name}"
        if name in answer.headers and header["schema"]["type"] == "string":
            mistakes = [each.message for each in validator(header["schema"]).iter_errors(answer.headers[name])]
            assert not mistakes, f"{said} with {name}: {mistakes}"


async def _check_body(said: str, content: Any, answer: httpx.Response) -> None:
    kind = answer.headers.get("content-type", "").partition(";")[0]
    if not content:
        assert kind == "", f"{said} with {kind}"
        return
    assert kind in content, f"{said} with {kind}, not {list(content)}"
    if kind == EVENT_STREAM or not kind.endswith("json"):
        return
    value = json.loads(await answer.aread())
    mistakes = [f"{each.json_path}: {each.message}"[:500] for each in _checks(kind, said, content).iter_errors(value)]
    assert not mistakes, f"{said}: {mistakes}"


_known: dict[tuple[str, str], Draft202012Validator] = {}


def _checks(kind: str, said: str, content: Any) -> Draft202012Validator:
    if (kind, said) not in _known:
        _known[kind, said] = validator(content[kind]["schema"])
    return _known[kind, said]
