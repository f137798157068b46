"""Makes values.schema.json: `python -m tests.helm.schema > helm/genrelay/values.schema.json`.

What there is, and its type, is read off values.yaml; `FREE` and `TOLD` say what a default can't. The schema of `config` is that
of the settings in the code. Nothing that isn't known is allowed, but in maps whose names are somebody else's.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import yaml

from config.reference import Setting
from config.settings import Settings
from tests.helm.charts import CHART

Schema = dict[str, Any]
Path = tuple[str, ...]

# What the chart sets by itself; in the file it would change nothing.
SET_BY_THE_CHART = frozenset({"host", "port", "data_dir"})

# Maps that are Kubernetes' own or the operator's, although their defaults hold something.
FREE = frozenset({"resources", "strategy", "behavior", "job", "labels"})
TEXTS: Schema = {"type": "array", "items": {"type": "string", "minLength": 1}}
PORTS: Schema = {"type": "array", "items": {"type": "integer", "minimum": 1, "maximum": 65535}, "minItems": 1}
PORT: Schema = {"type": "integer", "minimum": 1, "maximum": 65535}
OBJECTS: Schema = {"type": "array", "items": {"type": "object"}}
NAMED: Schema = {"type": "array", "items": {"type": "object", "required": ["name"]}}
COUNT: Schema = {"type": "integer", "minimum": 0}
ONE_OR_MORE: Schema = {"type": "integer", "minimum": 1}
ID: Schema = {"type": ["integer", "null"], "minimum": 1}
SECONDS: Schema = {"type": ["integer", "null"], "minimum": 1}
DURATION: Schema = {"type": "string", "pattern": "^[0-9]+(ms|s|m|h)$"}
QUANTITY: Schema = {"type": "string", "pattern": "^[0-9.]+(Ki|Mi|Gi|Ti|k|M|G|T)?$"}
STRINGS: Schema = {"type": "object", "additionalProperties": {"type": "string"}}
ENV: Schema = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["name"],
        "additionalProperties": False,
        "properties": {
            "name": {"type": "string", "minLength": 1},
            "value": {"type": "string"},
            "valueFrom": {"type": "object"},
        },
    },
}
TLS: Schema = {
    "type": "array",
    "items": {
        "type": "object",
        "additionalProperties": False,
        "properties": {"secretName": {"type": "string"}, "hosts": TEXTS},
    },
}
PROBE: Schema = {
    "periodSeconds": ONE_OR_MORE,
    "timeoutSeconds": ONE_OR_MORE,
    "failureThreshold": ONE_OR_MORE,
    "successThreshold": ONE_OR_MORE,
    "initialDelaySeconds": COUNT,
}
# By the last parts of a path, the longest that fits.
TOLD: dict[Path, Schema] = {
    ("nameOverride",): {"type": "string", "pattern": "^([a-z]([a-z0-9-]{0,38}[a-z0-9])?)?$"},
    ("fullnameOverride",): {"type": "string", "pattern": "^([a-z]([a-z0-9-]{0,38}[a-z0-9])?)?$"},
    ("image", "repository"): {"type": "string", "minLength": 1},
    ("image", "digest"): {"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"},
    ("image", "pullPolicy"): {"enum": ["Always", "IfNotPresent", "Never"]},
    ("imagePullSecrets",): NAMED,
    ("containerPort",): {"type": "integer", "minimum": 1024, "maximum": 65535},
    ("listenAddress",): {"enum": ["0.0.0.0", "::"]},
    ("service", "port"): PORT,
    ("service", "type"): {"enum": ["ClusterIP", "NodePort"]},
    ("queueAge", "type"): {"enum": ["External", "Pods"]},
    ("maxUnavailable",): {"type": ["integer", "string"], "pattern": "^[0-9]{1,3}%$", "minimum": 0},
    ("terminationGracePeriodSeconds",): SECONDS,
    ("lingerSeconds",): {"type": "number", "minimum": 0, "maximum": 300},
    ("latencySeconds",): {"type": "number", "minimum": 0},
    ("minReplicas",): ONE_OR_MORE,
    ("maxReplicas",): ONE_OR_MORE,
    ("targetCPUUtilizationPercentage",): ONE_OR_MORE,
    ("targetSeconds",): ONE_OR_MORE,
    ("activeDeadlineSeconds",): ONE_OR_MORE,
    ("runAsUser",): ID,
    ("runAsGroup",): ID,
    ("fsGroup",): ID,
    ("tmpSizeLimit",): QUANTITY,
    ("postgresql", "storage"): {"type": "string", "pattern": "^([0-9.]+(Ki|Mi|Gi|Ti|k|M|G|T)?)?$"},
    ("interval",): DURATION,
    ("scrapeTimeout",): DURATION,
    ("hosts",): TEXTS,
    ("hostnames",): TEXTS,
    ("clusterSubnets",): TEXTS,
    ("databasePorts",): PORTS,
    ("httpsPorts",): PORTS,
    ("tls",): TLS,
    ("annotations",): STRINGS,
    ("podAnnotations",): STRINGS,
    ("labels",): STRINGS,
    ("podLabels",): STRINGS,
    ("nodeSelector",): STRINGS,
    ("matchLabels",): STRINGS,
    ("extraEnv",): ENV,
    ("extraVolumes",): NAMED,
    ("extraVolumeMounts",): NAMED,
    ("extraContainers",): NAMED,
    ("extraInitContainers",): NAMED,
    ("extraObjects",): {"type": "array", "items": {"type": ["object", "string"]}},
    ("apiKeySecret", "key"): {"type": "string", "minLength": 1},
    ("tests", "provider"): {"enum": ["novita", "modelslab"]},
    ("probes", "startup"): {"type": "object", "additionalProperties": False, "properties": PROBE},
    ("probes", "readiness"): {"type": "object", "additionalProperties": False, "properties": PROBE},
    ("probes", "liveness"): {"type": "object", "additionalProperties": False, "properties": PROBE},
}


def values_schema() -> Schema:
    """Return the schema of the chart's values."""
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    schema = _of(values, ())
    schema["properties"]["config"] = config_schema()
    # What a chart above this one shares with all below it.
    schema["properties"]["global"] = {"type": "object"}
    head = {"$schema": "http://json-schema.org/draft-07/schema#", "title": "Values of the genrelay chart"}
    return head | schema


def _of(value: Any, path: Path) -> Schema:
    told = next((TOLD[path[start:]] for start in range(len(path)) if path[start:] in TOLD), None)
    if told is not None:
        return told
    match value:
        case bool():
            return {"type": "boolean"}
        case int():
            return COUNT
        case str():
            return {"type": "string"}
        case list():
            return OBJECTS
        case dict() if not value or (path[-1:] and path[-1] in FREE):
            return {"type": "object"}
        case dict():
            below = {name: _of(part, (*path, name)) for name, part in value.items()}
            closed: Schema = {"type": "object", "additionalProperties": False, "properties": below}
            return closed | {"required": _required(value, below)}
    raise TypeError(f"{'.'.join(path)}: {value!r} has no type; tell it in TOLD")


def _required(values: dict[str, Any], schemas: dict[str, Schema]) -> list[str]:
    """Return the names that `null` may not take away: sections, and what a template can't do without."""
    return [name for name, value in values.items() if not (value in (None, "", {}) or _is_free(name, schemas[name]))]


def _is_free(name: str, schema: Schema) -> bool:
    # A rule of a network policy without ports would open all of them.
    is_list = schema.get("type") == "array" and "minItems" not in schema
    return is_list or name in FREE or "null" in schema.get("type", "")


def config_schema() -> Schema:
    """Return the schema of `config`: every setting of the code, but secrets and what the chart sets."""
    whole = Settings.model_json_schema()
    schema = _inline(whole, whole["$defs"])
    for name in SET_BY_THE_CHART:
        del schema["properties"][name]
    return schema


def given_in_the_file(setting: Setting) -> bool:
    """Tell whether a setting has a place in `config`."""
    return not setting.secret and setting.path[0] not in SET_BY_THE_CHART


def _inline(schema: Schema, definitions: dict[str, Schema]) -> Schema:
    """Return a schema of pydantic's without references, defaults and nulls, and closed."""
    if "$ref" in schema:
        return _inline(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    if "anyOf" in schema:
        [kind] = [kind for kind in schema["anyOf"] if kind.get("type") != "null"]
        found = _described(_inline(kind, definitions), schema)
        # Where none is something else than the default, it is written as a word: TOML has no null.
        return (
            found if schema.get("default") is None else found | {"type": [found["type"], "string"], "pattern": "^none$"}
        )
    match schema.get("type"):
        case "object" if "properties" in schema:
            below = {
                name: _inline(part, definitions) for name, part in schema["properties"].items() if not _is_secret(part)
            }
            return {"type": "object", "additionalProperties": False, "properties": below}
        case "object":
            return {"type": "object", "additionalProperties": _inline(schema["additionalProperties"], definitions)}
        case "array":
            items = schema["items"]
            kept = {"type": "array", "items": {"type": "string"} if "anyOf" in items else _inline(items, definitions)}
            return _described(kept | _bounds(schema, "minItems", "maxItems"), schema)
    bounds = _bounds(schema, "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "enum")
    return _described({"type": schema["type"]} | bounds, schema)


def _bounds(schema: Schema, *names: str) -> Schema:
    return {name: schema[name] for name in names if name in schema}


def _described(kept: Schema, schema: Schema) -> Schema:
    return kept | _bounds(schema, "description")


def _is_secret(schema: Schema) -> bool:
    return "password" in json.dumps(schema)


def render_schema() -> str:
    """Return the file's text."""
    return json.dumps(values_schema(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(render_schema())
