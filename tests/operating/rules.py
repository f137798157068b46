"""The alerts and the dashboard as files, and what their expressions are made of."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import promql_parser
import yaml
from prometheus_client import REGISTRY, Histogram
from prometheus_client.metrics import MetricWrapperBase

ROOT = Path(__file__).parents[2]
FILES = ROOT / "helm/genrelay/files"
# Metrics that are not ours, with the labels that are used of them.
OUTSIDE = {
    "up": set[str](),
    "process_start_time_seconds": set[str](),
    "process_cpu_seconds_total": set[str](),
    "process_resident_memory_bytes": set[str](),
    "process_open_fds": set[str](),
    "kube_pod_status_ready": {"condition"},
}
# What Prometheus itself puts onto whatever it scrapes.
TARGET_LABELS = {"job", "instance", "namespace", "pod"}


@dataclass(frozen=True)
class Rule:
    """An alert."""

    name: str
    expr: str
    wait: str
    severity: str
    annotations: dict[str, str]


def alerts() -> list[Rule]:
    """Return every alert of the file."""
    document = yaml.safe_load((FILES / "alerts.yaml").read_text(encoding="utf-8"))
    return [
        Rule(rule["alert"], rule["expr"], rule["for"], rule["labels"]["severity"], rule["annotations"])
        for group in document["groups"]
        for rule in group["rules"]
    ]


def dashboard() -> dict[str, Any]:
    """Return the dashboard."""
    found: dict[str, Any] = json.loads((FILES / "dashboard.json").read_text(encoding="utf-8"))
    return found


def panels() -> list[dict[str, Any]]:
    """Return the dashboard's panels without its rows."""
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def expressions() -> dict[str, str]:
    """Return every expression by where it stands, with Grafana's own interval filled in."""
    found = {f"alert {rule.name}": rule.expr for rule in alerts()}
    for panel in panels():
        for target in panel["targets"]:
            found[f"panel {panel['title']} {target['refId']}"] = target["expr"].replace("$__rate_interval", "5m")
    return found


@dataclass
class Used:
    """What an expression is made of."""

    metrics: dict[str, set[str]] = field(default_factory=dict)  # with the labels they are selected by
    grouped_by: set[str] = field(default_factory=set)
    # A metric's name, and every aggregation around it.
    around: list[tuple[str, list[str]]] = field(default_factory=list)


def read_expression(text: str) -> Used:
    """Parse an expression; raises ValueError when it is none."""
    used, operators = Used(), list[str]()

    def enter(node: Any) -> bool:
        if isinstance(node, promql_parser.AggregateExpr):
            operators.append(str(node.op))
            used.grouped_by |= set(node.modifier.labels) if node.modifier else set()
        if isinstance(node, promql_parser.VectorSelector) and node.name is not None:
            labels = {matcher.name for matcher in node.matchers.matchers}
            used.metrics.setdefault(node.name, set()).update(labels)
            used.around.append((node.name, list(operators)))
        return True

    def leave(node: Any) -> bool:
        if isinstance(node, promql_parser.AggregateExpr):
            operators.pop()
        return True

    promql_parser.walk(promql_parser.parse(text), enter, leave)
    for on in re.findall(r"\b(?:on|ignoring) \(([^)]*)\)", text):
        used.grouped_by |= {label.strip() for label in on.split(",")}
    return used


def our_metrics() -> Iterator[tuple[str, MetricWrapperBase]]:
    """Return every metric of ours by each name that its samples have."""
    importlib.import_module("service.metrics")
    for collector in set(REGISTRY._names_to_collectors.values()):
        if isinstance(collector, MetricWrapperBase):
            [family] = collector.describe()
            if not family.name.startswith("genrelay"):
                continue
            if isinstance(collector, Histogram):
                yield from ((f"{family.name}_{end}", collector) for end in ("bucket", "sum", "count"))
            else:
                yield family.name + ("_total" if family.type == "counter" else ""), collector


def labels_of(metric: MetricWrapperBase) -> set[str]:
    """Return the names of a metric's own labels."""
    return set(metric._labelnames) | ({"le"} if isinstance(metric, Histogram) else set())
