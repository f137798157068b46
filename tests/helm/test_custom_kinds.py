"""The kinds of other projects, which Kubernetes' schemas don't know, have the shapes that their own documents tell."""

from __future__ import annotations

import json
import re
from typing import Any

import helm_python as helm
import pytest
import yaml

from tests.helm.charts import CHART, of_kind, one, render, value_sets

EVERYTHING = render(value_sets()["everything-on"])
_OF_AN_ALERT = {"alert", "record", "for", "keep_firing_for", "labels", "annotations"}


def check_keys(given: dict[str, Any], *, required: set[str], optional: set[str] = frozenset()) -> None:  # type: ignore[assignment]
    """Fail for a field that isn't known, or isn't there."""
    assert required <= set(given) <= required | optional, set(given)


# https://gateway-api.sigs.k8s.io/reference/spec/#httproute (checked 2026-11)
@pytest.mark.parametrize(("ending", "gateway"), [("-callbacks", "public"), ("-clients", "internal")])
def test_a_route_leads_from_its_gateway_to_the_api(ending: str, gateway: str) -> None:
    route = one(EVERYTHING, "HTTPRoute", ending)
    assert route["apiVersion"] == "gateway.networking.k8s.io/v1"
    check_keys(route["spec"], required={"parentRefs", "rules"}, optional={"hostnames"})
    assert [parent["name"] for parent in route["spec"]["parentRefs"]] == [gateway]
    service = one(EVERYTHING, "Service", "-api")
    for rule in route["spec"]["rules"]:
        check_keys(rule, required={"matches", "backendRefs", "timeouts"})
        assert len(rule["matches"]) <= 8, "more are refused by older versions of the Gateway API"
        for match in rule["matches"]:
            assert set(match) == {"path"}
            assert match["path"]["type"] == "PathPrefix"
        [backend] = rule["backendRefs"]
        assert backend == {"name": service["metadata"]["name"], "port": service["spec"]["ports"][0]["port"]}


def test_a_route_without_a_gateway_is_refused() -> None:
    with pytest.raises(helm.HelmError, match="leads nowhere"):
        render({"httpRoute": {"callbacks": {"enabled": True}}})


# https://prometheus-operator.dev/docs/api-reference/api/ (checked 2026-11)
def test_prometheus_finds_api_and_workers_by_ports_that_are_there() -> None:
    monitor = one(EVERYTHING, "ServiceMonitor")
    assert monitor["apiVersion"] == "monitoring.coreos.com/v1"
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    check_keys(monitor["spec"], required={"selector", "endpoints"}, optional={"jobLabel", "targetLabels"})
    [wanted] = monitor["spec"]["selector"]["matchExpressions"]
    labels = monitor["spec"]["selector"]["matchLabels"].items()
    services = [
        service
        for service in of_kind(EVERYTHING, "Service")
        if labels <= service["metadata"]["labels"].items()
        and service["metadata"]["labels"][wanted["key"]] in wanted["values"]
    ]
    assert len(services) == 2
    ports = [endpoint["port"] for endpoint in monitor["spec"]["endpoints"]]
    for service in services:
        named = [port["name"] for port in service["spec"]["ports"]]
        assert len([port for port in ports if port in named]) == 1, "each is asked once"
    for endpoint in monitor["spec"]["endpoints"]:
        assert endpoint["path"] == "/metrics"
        known = {"port", "path", "relabelings", "interval", "scrapeTimeout"}
        check_keys(endpoint, required=known, optional={"metricRelabelings"})


def test_the_alerts_are_those_of_the_file_with_their_templates_untouched() -> None:
    rule = one(EVERYTHING, "PrometheusRule")
    assert rule["apiVersion"] == "monitoring.coreos.com/v1"
    written = yaml.safe_load((CHART / "files" / "alerts.yaml").read_text(encoding="utf-8"))
    for group, original in zip(rule["spec"]["groups"], written["groups"], strict=True):
        narrowed = {
            alert["alert"] for alert, file in zip(group["rules"], original["rules"], strict=True) if alert != file
        }
        assert narrowed == ({"GenrelayGone", "GenrelayNotReady"} if group["name"] == "genrelay.processes" else set())
    for group in rule["spec"]["groups"]:
        check_keys(group, required={"name", "rules"}, optional={"interval"})
        for alert in group["rules"]:
            check_keys(
                alert,
                required={"expr"},
                optional={"alert", "record", "for", "keep_firing_for", "labels", "annotations"},
            )
            assert ("alert" in alert) != ("record" in alert)


def test_the_dashboard_is_the_file_with_the_label_that_grafana_looks_for() -> None:
    dashboard = one(EVERYTHING, "ConfigMap", "-dashboard")
    assert dashboard["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert dashboard["metadata"]["annotations"] == {"grafana_folder": "genrelay"}
    [(name, text)] = dashboard["data"].items()
    assert re.fullmatch(r"[-._a-zA-Z0-9]+\.json", name)
    assert json.loads(text) == json.loads((CHART / "files" / "dashboard.json").read_text(encoding="utf-8"))
