"""An operation of the contract: one literal entry per route, and what it becomes in the document."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from handlers.openapi.outcomes import CODES_OF_ACCOUNTS, CODES_OF_BODIES, CODES_OF_EVERYBODY, STATUSES, problem_response
from handlers.openapi.schema import Schema, ref
from handlers.problems import TITLES

JSON = "application/json"
_REQUEST_ID = {"X-Request-Id": {"$ref": "#/components/headers/X-Request-Id"}}
_QUOTA = ("RateLimit", "RateLimit-Policy")


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of the query, or a header. style: `deepObject` for `name[key]=value`, `form` for a list with commas."""

    name: str
    description: str
    schema: Schema
    place: str = "query"
    style: str | None = None
    example: Any = None

    def as_json(self) -> dict[str, Any]:
        """Return it as the document has it."""
        styled = {} if self.style is None else {"style": self.style, "explode": self.style == "deepObject"}
        shown = {} if self.example is None else {"example": self.example}
        said = {"name": self.name, "in": self.place, "description": self.description}
        return {**said, **styled, "schema": self.schema, **shown}


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that was hoped for. content: by media type. headers: names of the document's own. named: has a request id."""

    description: str
    content: Mapping[str, Schema] = field(default_factory=dict)
    headers: Sequence[str] = ()
    links: Mapping[str, Any] = field(default_factory=dict)
    named: bool = True

    def as_json(self, examples: Mapping[str, Any], *, limited: bool) -> dict[str, Any]:
        """Return it as the document has it. limited: whether it counts among an account's requests."""
        headers = [*self.headers, *(_QUOTA if limited else ())]
        named = {name.removeprefix("Signed"): {"$ref": f"#/components/headers/{name}"} for name in headers}
        made: dict[str, Any] = {
            "description": self.description,
            "headers": {**named, **(_REQUEST_ID if self.named else {})},
        }
        if self.content:
            made["content"] = {kind: _media(kind, schema, examples) for kind, schema in self.content.items()}
        if self.links:
            made["links"] = dict(self.links)
        return made


def _media(kind: str, schema: Schema, examples: Mapping[str, Any]) -> dict[str, Any]:
    name = schema.get("$ref", "").rpartition("/")[2]
    return {"schema": schema, "example": examples[name]} if name in examples and kind == JSON else {"schema": schema}


def answer(name: str, description: str, *headers: str, links: Mapping[str, Any] | None = None) -> Answer:
    """Return an answer in JSON that one of the document's schemas describes."""
    return Answer(description, {JSON: ref(name)}, headers, links or {})


@dataclass(frozen=True, slots=True)
class Body:
    """The body of a request."""

    schema: Schema
    examples: Mapping[str, Any] = field(default_factory=dict)
    required: bool = True
    media_type: str = JSON

    def as_json(self) -> dict[str, Any]:
        """Return it as the document has it."""
        shown = {"examples": {name: {"value": value} for name, value in self.examples.items()}} if self.examples else {}
        return {"required": self.required, "content": {self.media_type: {"schema": self.schema, **shown}}}


@dataclass(frozen=True, slots=True)
class Operation:
    """What a route does. id: stable, for generated clients. problems: codes beyond those that every such route has.

    open: whether it needs no API key. plain: whether it is for machines that watch, and has no problems at all.
    """

    id: str
    tag: str
    summary: str
    description: str
    answers: Mapping[int, Answer]
    parameters: Sequence[Parameter] = ()
    body: Body | None = None
    problems: Sequence[str] = ()
    open: bool = False
    plain: bool = False

    def as_json(self, path: str, examples: Mapping[str, Any]) -> dict[str, Any]:
        """Return it as the document has it."""
        parameters = [*_path_parameters(path), *(each.as_json() for each in self.parameters)]
        made: dict[str, Any] = {
            "operationId": self.id,
            "tags": [self.tag],
            "summary": self.summary,
            "description": self.description,
            **({"parameters": parameters} if parameters else {}),
            **({} if self.body is None else {"requestBody": self.body.as_json()}),
            "responses": {str(status): each for status, each in sorted(self._responses(examples))},
        }
        return {**made, "security": []} if self.open else made

    def codes(self) -> list[str]:
        """Return the codes of every problem that it may answer with."""
        if self.plain:
            return list(self.problems)
        found = [*self.problems, *CODES_OF_EVERYBODY]
        found += CODES_OF_BODIES if self.body is not None and self.body.media_type == JSON else []
        found += [] if self.open else CODES_OF_ACCOUNTS
        return [code for code in TITLES if code in found]

    def _responses(self, examples: Mapping[str, Any]) -> Iterator[tuple[int, dict[str, Any]]]:
        for status, said in self.answers.items():
            yield status, said.as_json(examples, limited=not self.open)
        by_status: dict[int, list[str]] = {}
        for code in self.codes():
            by_status.setdefault(STATUSES[code], []).append(code)
        for status, codes in by_status.items():
            yield status, problem_response(status, codes)


_PLACES: dict[str, tuple[str, Schema, Any]] = {
    "name": (
        "The destination's name.",
        {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"},
        "acme",
    ),
    "index": ("The output's place among those of its job, from 0.", {"type": "integer", "minimum": 0}, 0),
    "code": ("The problem's code.", ref("ProblemCode"), "not_found"),
    "provider": ("The provider's name.", ref("ProviderName"), "novita"),
    "token": ("What proves that the URL came from this service.", {"type": "string", "minLength": 1}, None),
}
_IDS = {"jobs": ("job", "job"), "subscriptions": ("sub", "subscription"), "deliveries": ("dlv", "delivery")}


def _path_parameters(path: str) -> Iterator[dict[str, Any]]:
    for name in re.findall(r"{(\w+)}", path):
        if name == "id":
            prefix, what = _IDS[path.split("/")[2]]
            description, schema, example = (
                f"The {what}'s id, `{prefix}_…`.",
                {"type": "string"},
                f"{prefix}_01kamvd3g8e7r9v2m4x6z8b0c1",
            )
        else:
            description, schema, example = _PLACES[name]
        shown = {} if example is None else {"example": example}
        yield {"name": name, "in": "path", "required": True, "description": description, "schema": schema, **shown}
