"""A small Prometheus: what an alert's expression comes to on given samples.

Samples are one minute apart; a series without a sample in a minute is not there then, as one whose process has gone. It knows
selectors, `rate`, `increase`, `changes`, `min_over_time`, `max_over_time`, `absent`, `histogram_quantile`, `time`, the
aggregations `sum`, `min`, `max` and `count`, comparisons, `/` and `-`, `and` and `unless`. Unlike Prometheus it does not guess
what happened before the first and after the last sample of a range; like it, it sees no increase in a series' first sample.
"""

from __future__ import annotations

import operator
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import promql_parser as promql

Labels = frozenset[tuple[str, str]]
Vector = dict[Labels, float]
Samples = Mapping[str, float | Sequence[float | None]]
PAST = 120  # minutes that samples reach back; a single number was there all the time, and a list ends now

_MATCHES: dict[str, Callable[[str, str], bool]] = {
    "Equal": operator.eq,
    "NotEqual": operator.ne,
    "Re": lambda value, pattern: re.fullmatch(pattern, value) is not None,
    "NotRe": lambda value, pattern: re.fullmatch(pattern, value) is None,
}
_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    ">": operator.gt, "<": operator.lt, "==": operator.eq, ">=": operator.ge, "<=": operator.le,
}  # fmt: skip
_AGGREGATIONS: dict[str, Callable[[list[float]], float]] = {"sum": sum, "min": min, "max": max, "count": len}


def _increase(values: list[float]) -> float:
    return sum(after - before if after >= before else after for before, after in pairwise(values))


# Each with the number of samples that it needs.
_OVER_TIME: dict[str, tuple[int, Callable[[list[float]], float]]] = {
    "increase": (2, _increase),
    "rate": (2, _increase),
    "changes": (1, lambda values: sum(before != after for before, after in pairwise(values))),
    "min_over_time": (1, min),
    "max_over_time": (1, max),
}


@dataclass(frozen=True)
class Series:
    """A line of /metrics, and what it was minute by minute."""

    name: str
    labels: Labels
    values: tuple[float | None, ...]  # PAST + 1, the last one now


def read_samples(samples: Samples) -> list[Series]:
    """Return the series of samples by lines as `/metrics` writes them; labels of a target are added."""
    found = []
    for line, given in samples.items():
        selector = promql.parse(line)
        assert isinstance(selector, promql.VectorSelector)
        assert selector.name is not None
        labels = {"namespace": "images", "instance": "a"} | {m.name: m.value for m in selector.matchers.matchers}
        values = [float(given)] * (PAST + 1) if isinstance(given, int | float) else list(given)
        padded = (*([None] * (PAST + 1 - len(values))), *values)
        found.append(Series(selector.name, frozenset(labels.items()), padded))
    return found


def is_firing(expr: str, wait_minutes: int, samples: Samples) -> bool:
    """Tell whether an alert fires now: one series of the expression has been there for the whole time."""
    tree, series = promql.parse(expr), read_samples(samples)
    found: list[set[Labels]] = []
    for ago in range(wait_minutes + 1):
        result = _evaluate(tree, series, PAST - ago)
        assert isinstance(result, dict)
        found.append(set(result))
    return bool(set.intersection(*found))


def _evaluate(node: Any, series: list[Series], now: int) -> Vector | float:
    match node:
        case promql.NumberLiteral():
            return float(node.val)
        case promql.ParenExpr():
            return _evaluate(node.expr, series, now)
        case promql.VectorSelector():
            chosen = ((each.labels, each.values[now]) for each in _select(node, series))
            return {labels: value for labels, value in chosen if value is not None}
        case promql.AggregateExpr():
            return _aggregate(node, _vector(node.expr, series, now))
        case promql.BinaryExpr():
            return _combine(node, _evaluate(node.lhs, series, now), _evaluate(node.rhs, series, now))
        case promql.Call():
            return _call(node, series, now)
    raise NotImplementedError(type(node))


def _vector(node: Any, series: list[Series], now: int) -> Vector:
    found = _evaluate(node, series, now)
    assert isinstance(found, dict)
    return found


def _select(selector: Any, series: list[Series]) -> list[Series]:
    def fits(labels: dict[str, str]) -> bool:
        matchers = selector.matchers.matchers
        return all(_MATCHES[str(m.op).rpartition(".")[2]](labels.get(m.name, ""), m.value) for m in matchers)

    return [each for each in series if each.name == selector.name and fits(dict(each.labels))]


def _keep(labels: Labels, names: Sequence[str]) -> Labels:
    return frozenset((name, value) for name, value in labels if name in names)


def _aggregate(node: Any, vector: Vector) -> Vector:
    groups: defaultdict[Labels, list[float]] = defaultdict(list)
    for labels, value in vector.items():
        groups[_keep(labels, node.modifier.labels if node.modifier else ())].append(value)
    return {labels: float(_AGGREGATIONS[str(node.op)](values)) for labels, values in groups.items()}


def _call(node: Any, series: list[Series], now: int) -> Vector | float:
    name, arguments = node.func.name, node.args
    if name == "time":
        return now * 60.0
    if name == "absent":
        equal = {m.name: m.value for m in arguments[0].matchers.matchers if m.op == promql.MatchOp.Equal}
        return {} if _vector(arguments[0], series, now) else {frozenset(equal.items()): 1.0}
    if name == "histogram_quantile":
        return _quantiles(arguments[0].val, _vector(arguments[1], series, now))
    least, reduce = _OVER_TIME[name]
    minutes = int(arguments[0].range.total_seconds()) // 60
    found = {}
    for each in _select(arguments[0].vector_selector, series):
        values = [value for value in each.values[max(0, now - minutes) : now + 1] if value is not None]
        if len(values) >= least:
            found[each.labels] = float(reduce(values)) / (minutes * 60 if name == "rate" else 1)
    return found


def _quantiles(share: float, buckets: Vector) -> Vector:
    """Return upper bounds of the buckets that the quantiles are in; Prometheus looks for a place within them."""
    by_rest: defaultdict[Labels, list[tuple[float, float]]] = defaultdict(list)
    for labels, count in buckets.items():
        bound = float(dict(labels)["le"])
        by_rest[frozenset(pair for pair in labels if pair[0] != "le")].append((bound, count))
    found = {}
    for rest, counts in by_rest.items():
        total = max(count for _, count in counts)
        if total > 0:
            found[rest] = min(bound for bound, count in counts if count >= share * total)
    return found


def _combine(node: Any, left: Vector | float, right: Vector | float) -> Vector | float:
    name = str(node.op)
    if isinstance(left, dict) and isinstance(right, dict):
        return _combine_vectors(name, node.modifier, left, right)
    if name in _COMPARISONS and isinstance(left, dict) and isinstance(right, float):
        return {labels: value for labels, value in left.items() if _COMPARISONS[name](value, right)}
    if name == "-" and isinstance(left, float) and isinstance(right, dict):
        return {labels: left - value for labels, value in right.items()}
    raise NotImplementedError(name)


def _combine_vectors(name: str, modifier: Any, left: Vector, right: Vector) -> Vector:
    on = modifier.matching if modifier else None
    assert on is None or on.type == promql.LabelModifierType.Include

    def key(labels: Labels) -> Labels:
        return labels if on is None else _keep(labels, on.labels)

    others = {key(labels): value for labels, value in right.items()}
    if name in {"and", "unless"}:
        return {labels: value for labels, value in left.items() if (key(labels) in others) == (name == "and")}
    assert name == "/", name
    pairs = {labels: (value, others[key(labels)]) for labels, value in left.items() if key(labels) in others}
    return {labels: value / whole for labels, (value, whole) in pairs.items() if whole}
