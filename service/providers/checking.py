"""Checking a job's `input` against a shape: every mistake at once, in words for whoever sent it.

A shape is a TypedDict that pydantic understands, strict, with nothing unknown allowed. Pydantic finds the mistakes and
gives the JSON Schema; this module puts the mistakes into our words. A TypedDict instead of a model: fields that were
not given stay not given, and the body goes out word for word.
"""

from __future__ import annotations

import difflib
import json
import re
from itertools import islice
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from service.providers.contract import Json, Mistake
from service.providers.storable import MAX_PARTS, find_unstorable, is_bloated

# For `with_config` on every TypedDict of a shape: pydantic hands it down neither to parents nor to children.
STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

GOT_CHARACTERS = 100
SEGMENT_CHARACTERS = 64
MISTAKES_TOLD = 100

RULES = {
    "missing": "required",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "list_type": "must be a list",
    "string_type": "must be a string",
    "int_type": "must be an integer",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "finite_number": "must be a finite number",
    "greater_than": "must be more than {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than": "must be less than {lt:g}",
    "less_than_equal": "must be at most {le:g}",
    "too_long": "must have at most {max_length} items",
    "too_short": "must have at least {min_length} items",
    "string_too_long": "must have at most {max_length} characters",
    "string_pattern_mismatch": "must match {pattern}",
    "string_too_short": "must have at least {min_length} characters",
}
ONE = re.compile(r" 1 (item|character)s$")
# Errors whose input is not shown: unknown fields may hold keys, URLs may hold tokens.
NOT_SHOWN = frozenset({"missing", "extra_forbidden", "http_url"})


class InputCheck:
    """The check of one operation's `input`, or of another document; `schema` is its JSON Schema.

    root: what paths begin with; "" for a document that is the request's whole body.
    """

    def __init__(self, shape: type, *, root: str = "input") -> None:
        self._root = root
        self._adapter: TypeAdapter[Any] = TypeAdapter(shape)
        self.schema: dict[str, Json] = self._adapter.json_schema()

    def find_mistakes(self, given: Json) -> list[Mistake]:
        """Return every mistake of `given`, at most a hundred and a last one that counts the rest; never raises."""
        if is_bloated(given):
            return [Mistake(self._root or "body", f"must have at most {MAX_PARTS} fields and items in all")]
        found: dict[str, Mistake | ErrorDetails] = {}
        for path, rule, got in find_unstorable(given):
            shown = self._show_path(path)
            found.setdefault(shown, Mistake(shown, rule, got))
        for error in self._find_errors(given):
            # What can't be stored was told already, in better words.
            found.setdefault(self._show_path(error["loc"]), error)
        # A suggestion compares the name with every known one: thousands of them would hold up everybody else.
        mistakes = [self._word(path, each) for path, each in islice(found.items(), MISTAKES_TOLD)]
        if left := len(found) - len(mistakes):
            mistakes.append(Mistake(self._root or "body", f"and {left} more mistakes"))
        return mistakes

    def _word(self, path: str, found: Mistake | ErrorDetails) -> Mistake:
        return found if isinstance(found, Mistake) else Mistake(path, self._rule(found), _show_input(found))

    def _show_path(self, path: tuple[int | str, ...]) -> str:
        # A name may be megabytes long, and part of thousands of paths: only what is shown of it is looked at.
        parts = [_shorten(_printable(str(part)[: SEGMENT_CHARACTERS + 1]), SEGMENT_CHARACTERS) for part in path]
        return ".".join([self._root, *parts] if self._root else parts) or "body"

    def _find_errors(self, given: Json) -> list[ErrorDetails]:
        try:
            self._adapter.validate_python(given)
        except ValidationError as error:
            # A lone surrogate, told already; in a field's name pydantic would put it on the wrong place.
            return [one for one in error.errors(include_url=False) if one["type"] != "string_unicode"]
        return []

    def _rule(self, error: ErrorDetails) -> str:
        context = error.get("ctx", {})
        match error["type"]:
            case "extra_forbidden":
                return "unknown field" + suggest(error["loc"][-1], list(self._properties(error["loc"][:-1])))
            case "literal_error":
                choices = list(self._schema_at(error["loc"]).get("enum", []))
                return f"must be one of {context['expected']}" + suggest(error["input"], choices)
            case "value_error":
                return str(context["error"])
            case kind if kind in RULES:
                return ONE.sub(r" 1 \1", RULES[kind].format(**context))
            case _:
                return error["msg"]

    def _properties(self, path: tuple[int | str, ...]) -> dict[str, Json]:
        properties: dict[str, Json] = self._schema_at(path).get("properties", {})
        return properties

    def _schema_at(self, path: tuple[int | str, ...]) -> dict[str, Json]:
        """Return the part of the JSON Schema that is about the place; shapes have no unions but with null."""
        schema = self.schema
        for part in path:
            schema = schema.get("items", {}) if isinstance(part, int) else schema.get("properties", {}).get(part, {})
            schema = next((each for each in schema.get("anyOf", ()) if each.get("type") != "null"), schema)
            if "$ref" in schema:
                schema = self.schema["$defs"][schema["$ref"].rsplit("/", 1)[-1]]
        return schema


def suggest(given: Json, known: list[str]) -> str:
    """Return the known name that is nearest to what came, as the end of a rule; nothing when none is near."""
    if not isinstance(given, str) or len(given) > SEGMENT_CHARACTERS:
        return ""
    by_lower_case = {name.lower(): name for name in known}
    near = difflib.get_close_matches(given.lower(), by_lower_case, n=1)
    return f"; did you mean `{by_lower_case[near[0]]}`?" if near else ""


def _show_input(error: ErrorDetails) -> str | None:
    """Show what came, as JSON; only the kind of what has parts, and only the length of what should be base64."""
    if error["type"] in NOT_SHOWN:
        return None
    value = error["input"]
    match value:
        case str() if _is_opaque(error):
            return f"a string of {len(value)} characters"
        case dict():
            return f"an object with {len(value)} fields"
        case list():
            return f"a list of {len(value)} items"
        case str():
            return _shorten(_printable(json.dumps(value[: GOT_CHARACTERS + 1], ensure_ascii=False)), GOT_CHARACTERS)
        case None | bool() | int() | float():
            return _shorten(json.dumps(value), GOT_CHARACTERS)
    return f"a {type(value).__name__}"


def _is_opaque(error: ErrorDetails) -> bool:
    """Tell whether a string may hold more than a value: base64, or a whole body encoded twice, keys included."""
    place = str(error["loc"][-1]) if error["loc"] else ""
    return (
        place.endswith("_base64")
        or error["type"] in {"dict_type", "model_type", "list_type", "base64_image"}
        or error["input"][:5].lower() == "data:"
    )


def _shorten(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "\ufffd" for c in text)
