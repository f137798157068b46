"""Alerts and dashboard speak of metrics that there are, and whoever is woken finds out what to do."""

from __future__ import annotations

import re

import pytest

from tests.operating.rules import (
    OUTSIDE,
    ROOT,
    TARGET_LABELS,
    Rule,
    alerts,
    dashboard,
    expressions,
    labels_of,
    our_metrics,
    panels,
    read_expression,
)

OURS = dict(our_metrics())
EXPRESSIONS = expressions()
ALERTS = {rule.name: rule for rule in alerts()}
RUNBOOK = (ROOT / "docs/operating.md").read_text(encoding="utf-8")
# Gauges that every worker sets for all, by their own words.
OF_ALL = {
    name for name, metric in OURS.items() if re.search("the maximum, not the sum|counted like", metric._documentation)
}


@pytest.mark.parametrize("where", EXPRESSIONS)
def test_every_metric_and_label_that_is_asked_for_exists(where: str) -> None:
    used = read_expression(EXPRESSIONS[where])
    assert used.metrics
    known = set(TARGET_LABELS)
    for name, selected in used.metrics.items():
        own = OUTSIDE[name] if name in OUTSIDE else labels_of(OURS[name])
        assert selected <= own | TARGET_LABELS, name
        known |= own
    assert used.grouped_by <= known


@pytest.mark.parametrize("where", EXPRESSIONS)
def test_what_every_worker_counts_for_all_is_never_summed(where: str) -> None:
    for name, around in read_expression(EXPRESSIONS[where]).around:
        if name in OF_ALL:
            assert around == ["max"], name


def test_there_are_metrics_that_must_not_be_summed() -> None:
    assert {"genrelay_outputs_about_to_expire", "genrelay_deliveries_overdue_seconds"} <= OF_ALL


def test_a_rate_is_taken_of_counters_only() -> None:
    for where, text in EXPRESSIONS.items():
        for name in re.findall(r"(?:rate|increase)\((\w+)", text):
            assert name.endswith(("_total", "_bucket", "_sum", "_count")), where


def test_every_metric_of_ours_is_on_the_dashboard() -> None:
    shown = {name for text in EXPRESSIONS.values() for name in read_expression(text).metrics}
    histograms = {name.removesuffix("_bucket") for name in shown if name.endswith("_bucket")}
    missing = {name for name in OURS if name not in shown and re.sub(r"_(sum|count)$", "", name) not in histograms}
    assert not missing


@pytest.mark.parametrize("rule", ALERTS.values(), ids=ALERTS)
def test_an_alert_says_what_it_is_with_values_and_where_to_read_on(rule: Rule) -> None:
    assert rule.severity in {"critical", "warning", "info"}
    assert re.fullmatch(r"\d+[mh]", rule.wait)
    assert set(rule.annotations) == {"summary", "description", "runbook_url"}
    assert rule.annotations["runbook_url"] == f"docs/operating.md#{rule.name.lower()}"
    assert rule.name == "GenrelayGone" or "{{ $" in rule.annotations["description"]


@pytest.mark.parametrize("rule", ALERTS.values(), ids=ALERTS)
def test_a_description_names_labels_that_the_alert_has(rule: Rule) -> None:
    used = read_expression(rule.expr)
    labels = set(re.findall(r"\$labels\.(\w+)", rule.annotations["description"]))
    whole_series = TARGET_LABELS if not any(around for _, around in used.around) else set()
    assert labels <= used.grouped_by | whole_series


def test_alerts_and_runbooks_go_together() -> None:
    headings = re.findall(r"^#### (Genrelay\w+)$", RUNBOOK, re.MULTILINE)
    assert sorted(headings) == sorted(ALERTS)
    assert len(headings) == len(set(headings))


def test_every_runbook_says_what_it_means_where_to_look_and_what_to_do() -> None:
    for section in re.split(r"^#### ", RUNBOOK, flags=re.MULTILINE)[1:]:
        name, _, text = section.partition("\n")
        text = re.split(r"^##", text, flags=re.MULTILINE)[0]
        meaning, *points = re.split(r"^- ", text.strip(), flags=re.MULTILINE)
        assert meaning.strip(), name
        assert [point.partition(" ")[0] for point in points] == ["Look:", "Do:"], name


def test_metrics_that_the_page_names_exist() -> None:
    named = set(re.findall(r"\bgenrelay_[a-z_]+[a-z]", RUNBOOK)) - {"genrelay_service"}  # a role of the database
    known = set(OURS) | {re.sub(r"_(bucket|sum|count)$", "", name) for name in OURS}
    assert named <= known


def test_the_dashboard_can_be_put_anywhere() -> None:
    board = dashboard()
    assert [variable["name"] for variable in board["templating"]["list"]] == ["datasource", "namespace"]
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))
    for panel in panels():
        for target in [panel, *panel["targets"]]:
            assert target["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


def test_no_two_panels_lie_on_each_other() -> None:
    places = [panel["gridPos"] for panel in dashboard()["panels"]]
    cells = [
        (x, y)
        for place in places
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) == 23
