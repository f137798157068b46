"""Every value is explained and does something, and no other value is taken."""

from __future__ import annotations

import copy
import functools
import json
import re
from collections.abc import Iterator
from typing import Any

import helm_python as helm
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.helm.charts import CHART, Values, render_files, value_sets
from tests.helm.schema import values_schema

Path = tuple[str, ...]
TEXT = (CHART / "values.yaml").read_text(encoding="utf-8")
DEFAULTS: Values = yaml.safe_load(TEXT)
SCHEMA = values_schema()


def closed(schema: dict[str, Any], path: Path = ()) -> Iterator[Path]:
    """Yield the paths of all maps that take known names only."""
    if schema.get("additionalProperties") is False:
        yield path
    for name, below in schema.get("properties", {}).items():
        yield from closed(below, (*path, name))


def at(path: Path, value: Any) -> Values:
    """Return values with one at a path."""
    for name in reversed(path):
        value = {name: value}
    return value  # type: ignore[no-any-return]


CLOSED = sorted(closed(SCHEMA))


def test_only_maps_with_names_of_others_are_open() -> None:
    text = {".".join(path) for path in open_maps(SCHEMA)}
    assert {name.rpartition(".")[2] for name in text} == {
        "affinity", "annotations", "behavior", "global", "job", "labels", "matchLabels", "nodeSelector", "operations",
        "podAnnotations", "podLabels", "resources", "strategy", "timeouts",
    }  # fmt: skip
    assert len(CLOSED) > 40


def open_maps(schema: dict[str, Any], path: Path = ()) -> Iterator[Path]:
    """Yield the paths of all maps that take any name."""
    if schema.get("type") == "object" and schema.get("additionalProperties") is not False:
        yield path
    for name, below in schema.get("properties", {}).items():
        yield from open_maps(below, (*path, name))


@given(
    st.sampled_from(CLOSED),
    st.from_regex(r"[A-Za-z][A-Za-z0-9_-]{0,20}", fullmatch=True),
    st.one_of(st.booleans(), st.integers(), st.text(max_size=5), st.just([]), st.just({})),
)
def test_an_unknown_name_is_refused_wherever_it_stands(path: Path, name: str, value: Any) -> None:
    known = functools.reduce(lambda schema, part: schema["properties"][part], path, SCHEMA)["properties"]
    if name in known:
        return
    with pytest.raises(helm.HelmError) as refused:
        render_files(at((*path, name), value))
    assert name in str(refused.value)


@pytest.mark.parametrize(
    "values",
    [
        {"image": {"tag": 1}},
        {"image": {"digest": "sha256:abc"}},
        {"image": {"pullPolicy": "Sometimes"}},
        {"api": {"service": {"type": "LoadBalancer"}}},
        {"api": {"replicas": -1}},
        {"api": {"replicas": "two"}},
        {"api": {"autoscaling": {"minReplicas": 0}}},
        {"api": {"podDisruptionBudget": {"maxUnavailable": "half"}}},
        {"containerPort": 80},
        {"probes": {"readiness": {"httpGet": {"path": "/"}}}},
        {"ingress": {"callbacks": {"enabled": "yes"}}},
        {"ingress": {"clients": {"hosts": "api.example.com"}}},
        {"existingSecret": {"name": "genrelay"}},
        {"extraEnv": {"AWS_REGION": "eu-central-1"}},
        {"extraEnv": [{"name": "AWS_REGION", "valeu": "eu-central-1"}]},
        {"networkPolicy": {"databasePorts": ["postgres"]}},
        {"worker": {"autoscaling": {"queueAge": {"type": "Resource"}}}},
        {"fullnameOverride": "Not_A_Name"},
    ],
)
def test_values_of_a_wrong_kind_are_refused(values: Values) -> None:
    with pytest.raises(helm.HelmError, match="at '/"):
        render_files(values)


def below(schema: dict[str, Any] = SCHEMA, path: Path = ()) -> Iterator[tuple[Path, bool]]:
    """Yield the path of everything that has a default, and whether `null` may take it away."""
    for name, part in schema["properties"].items():
        if name == "global":
            continue  # has none
        yield (*path, name), name not in schema.get("required", [])
        if "properties" in part and name != "config" and path != ("probes",):
            yield from below(part, (*path, name))


# What only matters together with something else, which says so itself.
NEEDED = {
    ("networkPolicy", "metricsFrom"),
    ("httpRoute", "callbacks", "parentRefs"),
    ("httpRoute", "clients", "parentRefs"),
}


@pytest.mark.parametrize("path", [path for path, optional in below() if optional and path not in NEEDED], ids=".".join)
def test_null_takes_away_what_may_be_missing(path: Path) -> None:
    for number in (0, 1):
        values = copy.deepcopy(BASES[number])
        place = values
        for part in path[:-1]:
            place = place.setdefault(part, {})
        place[path[-1]] = None
        text = "".join(render_files(values).values())
        assert "<nil>" not in text
        assert "<no value>" not in text


def test_null_does_not_take_away_what_nothing_goes_without() -> None:
    needed = [path for path, optional in below() if not optional]
    assert {("image", "repository"), ("api",), ("api", "replicas"), ("networkPolicy", "httpsPorts")} <= set(needed)
    for path in needed[::4]:
        with pytest.raises(helm.HelmError, match=f"missing propert.*'{path[-1]}'"):
            render_files(at(path, None))


def test_a_chart_above_may_share_globals() -> None:
    assert render_files({"global": {"region": "eu"}}) == render_files({})


def test_every_value_has_a_comment_above_it() -> None:
    lines = TEXT.splitlines()
    bare = [path for path, number in keys_with_lines() if not lines[number - 1].strip().startswith("#")]
    assert bare == []
    assert len(list(keys_with_lines())) > 130


def keys_with_lines() -> Iterator[tuple[Path, int]]:
    """Yield every value's path and line, but those inside of maps that are somebody else's."""
    document = yaml.compose(TEXT)
    assert isinstance(document, yaml.MappingNode)

    def walk(node: yaml.MappingNode, schema: dict[str, Any], path: Path) -> Iterator[tuple[Path, int]]:
        for key, value in node.value:
            below = schema["properties"][key.value]
            yield (*path, key.value), key.start_mark.line
            # The three numbers of a probe are Kubernetes' own; the comment above the probe is theirs.
            if "properties" in below and isinstance(value, yaml.MappingNode) and path != ("probes",):
                yield from walk(value, below, (*path, key.value))

    yield from walk(document, SCHEMA, ())


def leaves(schema: dict[str, Any] = SCHEMA, path: Path = ()) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield every value that is no section, with its schema; `config` counts as one."""
    for name, below in schema["properties"].items():
        if "properties" in below and (*path, name) != ("config",):
            yield from leaves(below, (*path, name))
        elif name != "global":
            yield (*path, name), below


def other(schema: dict[str, Any], now: Any) -> Any:
    """Return a value that the schema takes and that is not the one there is now."""
    if "enum" in schema:
        return next(each for each in schema["enum"] if each != now)
    kinds = schema.get("type")
    kind = kinds[0] if isinstance(kinds, list) else kinds
    match kind:
        case "boolean":
            return not now
        case "integer":
            return int(now or 4000) + 1
        case "number":
            return (now or 0) + 1
        case "array":
            items = schema["items"]
            item = {"name": "other", "value": "v"} if items["type"] == "object" else other(items, None)
            if items.get("properties", {}).keys() == {"secretName", "hosts"}:
                item = {"secretName": "other"}
            return [item if items["type"] != ["object", "string"] else "kind: Other\nmetadata: {name: other}"]
        case "object":
            if "operations" in json.dumps(schema):
                return {"log_level": "error"}
            return {"other": {"other": "o"}} if schema.get("additionalProperties") is None else {"other": "o"}
    return {"digest": "sha256:" + "0" * 64}.get("", _text(schema))


def _text(schema: dict[str, Any]) -> str:
    candidates = ("other", "77s", "7Gi", "sha256:" + "7" * 64)
    return next(text for text in candidates if re.search(schema.get("pattern", ""), text))


# On these, a value that matters at all makes a difference.
BASES: list[Values] = [
    value_sets()["everything-on"],
    {"development": {"enabled": True, "postgresql": {"storage": "1Gi"}}, "networkPolicy": {"enabled": True}},
    {
        "api": {"autoscaling": {"enabled": False}},
        "ingress": {"callbacks": {"enabled": True}, "clients": {"enabled": True}},
    },
    {},
]


@functools.cache
def _rendered(number: int) -> dict[str, str]:
    return _same_each_time(render_files(BASES[number]))


def _same_each_time(rendered: dict[str, str]) -> dict[str, str]:
    return {path: re.sub(r"\b[A-Za-z0-9]{32,48}\b(?=$|@)", "", text, flags=re.M) for path, text in rendered.items()}


@pytest.mark.parametrize(("path", "schema"), [pytest.param(*leaf, id=".".join(leaf[0])) for leaf in leaves()])
def test_every_value_does_something(path: Path, schema: dict[str, Any]) -> None:
    assert any(_matters(number, path, schema) for number in range(len(BASES)))


def _matters(number: int, path: Path, schema: dict[str, Any]) -> bool:
    values = copy.deepcopy(BASES[number])
    place, default = values, DEFAULTS
    for part in path[:-1]:
        place, default = place.setdefault(part, {}), default.get(part, {})
    place[path[-1]] = other(schema, place.get(path[-1], default.get(path[-1])))
    return _same_each_time(render_files(values)) != _rendered(number)
