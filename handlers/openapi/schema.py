"""Writing JSON Schemas (2020-12) in few words."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

Schema = dict[str, Any]


def ref(name: str) -> Schema:
    """Return a reference to one of the document's schemas."""
    return {"$ref": f"#/components/schemas/{name}"}


def record(description: str, properties: dict[str, Schema], *, optional: Collection[str] = ()) -> Schema:
    """Return an object that always has all of its properties, but for the optional ones. More may come some day."""
    return {
        "type": "object",
        "description": description,
        "properties": properties,
        "required": [name for name in properties if name not in optional],
    }


def nullable(schema: Schema) -> Schema:
    """Return what is as the schema says, or null."""
    if isinstance(schema.get("type"), str):
        made = {**schema, "type": [schema["type"], "null"]}
        return {**made, "enum": [*schema["enum"], None]} if "enum" in schema else made
    described = {"description": schema["description"]} if "description" in schema else {}
    return {"anyOf": [{name: part for name, part in schema.items() if name != "description"}, {"type": "null"}]} | (
        described
    )


def text(description: str, **more: Any) -> Schema:
    """Return a string."""
    return {"type": "string", "description": description, **more}


def choice(description: str, values: Iterable[str]) -> Schema:
    """Return one of a few strings."""
    return {"type": "string", "description": description, "enum": list(values)}


def constant(value: str) -> Schema:
    """Return a string that is always the same: what kind of thing this is."""
    return {"type": "string", "const": value}


def whole(description: str, **more: Any) -> Schema:
    """Return an integer that is not negative."""
    return {"type": "integer", "minimum": 0, "description": description, **more}


def flag(description: str) -> Schema:
    """Return true or false."""
    return {"type": "boolean", "description": description}


def time(description: str) -> Schema:
    """Return a moment."""
    return {"type": "string", "format": "date-time", "description": description}


def list_of(items: Schema, description: str = "") -> Schema:
    """Return a list."""
    return {"type": "array", "items": items} | ({"description": description} if description else {})


def texts(description: str) -> Schema:
    """Return an object whose values are strings."""
    return {"type": "object", "description": description, "additionalProperties": {"type": "string"}}


def anything(description: str) -> Schema:
    """Return an object of which nothing more is promised."""
    return {"type": "object", "description": description, "additionalProperties": True}


def identifier(prefix: str, what: str) -> Schema:
    """Return an id as it is shown: a prefix, and 26 characters that sort by time."""
    return {
        "type": "string",
        "description": f"The id of {what}.",
        "pattern": f"^{prefix}_[0-7][0-9a-hjkmnp-tv-z]{{25}}$",
    }


def links(*names: str) -> Schema:
    """Return paths to what belongs to a thing."""
    path: Schema = {"type": "string", "format": "uri-reference"}
    return record("Paths to what belongs to it, relative to this service.", dict.fromkeys(names, path))


def page_of(name: str) -> Schema:
    """Return a page of a list of things that have a schema."""
    return record(
        "A page of a list.",
        {
            "data": list_of(ref(name)),
            "next_cursor": nullable(text("What to ask for as `cursor` for the next page; null on the last one.")),
            "has_more": flag("Whether there is a next page."),
        },
    )
