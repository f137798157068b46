"""What requests hold: the shapes that check them, as the document's schemas.

What a shape leaves to code, because pydantic could not word its mistakes, is said here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from pydantic import TypeAdapter

from handlers.openapi.schema import Schema, choice, constant, flag, list_of, nullable, ref, text
from service.engine.copies import CopyIn
from service.events.signing_secrets import DEFAULT_GRACE_SECONDS, MOST_GRACE_SECONDS
from service.events.sinks.sink_input import EventBridgeSink, SnsSink, SqsSink
from service.events.subscription_input import MAX_VALUES, FilterIn, SubscriptionIn
from service.events.types import PATTERNS
from service.jobs.request import JobIn
from service.outputs.destination_input import SHAPES
from service.providers.contract import Operation, Provider
from service.providers.registry import PROVIDERS
from service.webhook_checks.request import CheckIn

_DEFINITIONS = "#/$defs/"


class Schemas:
    """The schemas of the document, by name; shapes bring their parts along, equal ones only once."""

    def __init__(self) -> None:
        self.found: dict[str, Schema] = {}

    def add(self, name: str, schema: Schema) -> None:
        """Take in what a shape says of itself; its parts keep their names where no other part has them."""
        parts = schema.pop("$defs", {})
        names = {part: self._name(name, part, parts) for part in parts}
        for part, found in parts.items():
            self.found[names[part]] = _renamed(found, names)
        self.found[name] = _renamed(schema, names)

    def add_shape(self, name: str, shape: Any) -> Schema:
        """Take in a shape, and return what became of it, to be completed."""
        self.add(name, TypeAdapter(shape).json_schema())
        return self.found[name]

    def _name(self, of: str, part: str, parts: dict[str, Schema]) -> str:
        names = {each: each for each in parts}
        same = self.found.get(part) == _renamed(parts[part], names)
        return part if same or part not in self.found else f"{of}.{part}"


def _renamed(schema: Schema, names: dict[str, str]) -> Schema:
    """Return a schema whose references lead to where its parts are now."""
    text = json.dumps(schema)
    found: Schema = json.loads(
        re.sub(
            rf'"{re.escape(_DEFINITIONS)}([^"]+)"',
            lambda match: json.dumps(f"#/components/schemas/{names[match[1]]}"),
            text,
        )
    )
    return found


def request_schemas() -> dict[str, Schema]:
    """Return the schemas of everything that is sent to the service."""
    schemas = Schemas()
    _add_jobs(schemas)
    _add_destinations(schemas)
    _add_subscriptions(schemas)
    schemas.add_shape("CopyRequest", CopyIn)
    schemas.add_shape("WebhookCheckRequest", CheckIn)["properties"]["provider"] = ref("ProviderName")
    grace = {
        "type": "integer",
        "minimum": 0,
        "maximum": MOST_GRACE_SECONDS,
        "default": DEFAULT_GRACE_SECONDS,
        "description": "How long the one before still signs.",
    }
    secret = nullable(
        text("The new one: `whsec_` and base64 of 24 to 64 bytes. Without it, one is made.", pattern="^whsec_")
    )
    schemas.found["RetryRequest"] = _strict(
        accept_second_charge=flag("Whether to submit again although the last submit may have run, and may be charged.")
    )
    schemas.found["SecretRotation"] = _strict(grace_seconds=grace, secret=secret)
    schemas.found["KeyRotation"] = _strict(grace_seconds=grace)
    schemas.found["RecoverRequest"] = {
        **_strict(since={"type": "string", "format": "date-time", "description": "A time that is over."}),
        "required": ["since"],
    }
    return schemas.found


def _strict(**properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "additionalProperties": False}


def job_schema_name(provider: Provider, operation: Operation) -> str:
    """Return what the schema of an operation's input is called."""
    return "".join(part.capitalize() for part in re.split(r"[^a-z0-9]+", f"{provider.name}-{operation.name}")) + "Input"


def _operations() -> Iterator[tuple[Provider, Operation]]:
    return ((provider, operation) for provider in PROVIDERS.values() for operation in provider.operations.values())


def _add_jobs(schemas: Schemas) -> None:
    for provider, operation in _operations():
        schemas.add(job_schema_name(provider, operation), json.loads(json.dumps(operation.input_schema)))
    job = schemas.add_shape("JobRequest", JobIn)
    job["properties"]["provider"] = ref("ProviderName")
    job["properties"]["input"] = {
        "description": "The provider's own request body, word for word as its documentation has it."
    }
    # Which input it is, the two names beside it tell.
    job["oneOf"] = [
        {
            "title": f"{provider.name} {operation.name}",
            "properties": {
                "provider": {"const": provider.name},
                "operation": {"const": operation.name},
                "input": ref(job_schema_name(provider, operation)),
            },
        }
        for provider, operation in _operations()
    ]
    schemas.found["ProviderName"] = choice("A provider.", PROVIDERS)


def _add_destinations(schemas: Schemas) -> None:
    names = {"access_key": "AccessKeyDestination", "assume_role": "RoleDestination", "ambient": "AmbientDestination"}
    for kind, shape in SHAPES.items():
        schemas.add_shape(names[kind], shape)
    # There only so that giving one says why that can't be.
    schemas.found["AssumeRoleAuth"]["properties"].pop("external_id")
    schemas.found["DestinationRequest"] = {
        "description": "A bucket and how to write to it; `auth.type` decides which of these.",
        "oneOf": [ref(names[kind]) for kind in SHAPES],
    }


def _add_subscriptions(schemas: Schemas) -> None:
    _add_sinks(schemas)
    changes = schemas.add_shape("SubscriptionChanges", SubscriptionIn)
    properties = changes["properties"]
    properties["sink"] = nullable(ref("SinkRequest"))
    properties["event_types"] = nullable(
        {**list_of(choice("A type, or a pattern.", PATTERNS)), "minItems": 1, "maxItems": MAX_VALUES}
    )
    properties["headers"] = nullable(
        {"type": "object", "additionalProperties": {"type": "string"}, "description": "Sent along, never shown again."}
    )
    _complete_filter(schemas.found[FilterIn.__name__])
    schemas.found["SubscriptionRequest"] = {
        **changes,
        "title": "SubscriptionRequest",
        "description": "A subscription: with a `url`, or with a `sink`. null stands for the default.",
        "oneOf": [
            {"required": [one], "properties": {one: {"not": {"type": "null"}}, other: {"type": "null"}}}
            for one, other in (("url", "sink"), ("sink", "url"))
        ],
    }


def _complete_filter(found: Schema) -> None:
    value = {"type": "string", "minLength": 1, "maxLength": 64}
    many = {"type": "array", "items": value, "minItems": 1, "maxItems": MAX_VALUES}
    for name in ("provider", "operation", "destination"):
        found["properties"][name] = {"anyOf": [value, many, {"type": "null"}]}


def _add_sinks(schemas: Schemas) -> None:
    auth = {"oneOf": [ref(name) for name in ("AccessKeyAuth", "AssumeRoleAuth", "AmbientAuth")]}
    shapes = {"sqs": SqsSink, "sns": SnsSink, "eventbridge": EventBridgeSink}
    for kind, shape in shapes.items():
        properties = schemas.add_shape(shape.__name__, shape)["properties"]
        properties["type"], properties["auth"] = constant(kind), auth
    schemas.found["SinkRequest"] = {
        "description": "An SQS queue, an SNS topic or an EventBridge bus.",
        "oneOf": [ref(shape.__name__) for shape in shapes.values()],
    }
