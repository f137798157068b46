"""The alerts that the chart installs see the release that they belong to, whatever it is called and whoever else is there."""

from __future__ import annotations

import pytest

from tests.helm.charts import NAMESPACE, Values, of_kind, one, render
from tests.operating.evaluating import Samples, is_firing
from tests.operating.rules import alerts

MONITORING: Values = {"monitoring": {"serviceMonitor": {"enabled": True}, "prometheusRule": {"enabled": True}}}
LONG = "a-release-with-a-name-as-long-as-helm-lets-it-be-one"
NAMES = [("genrelay", {}), ("mine", {"nameOverride": "other"}), ("mine", {"fullnameOverride": "pictures"}), (LONG, {})]


def expressions(values: Values, name: str = "relay") -> dict[str, str]:
    """Return what a release's alerts ask for."""
    groups = one(render({**MONITORING, **values}, name=name), "PrometheusRule")["spec"]["groups"]
    return {rule["alert"]: rule["expr"] for group in groups for rule in group["rules"]}


@pytest.mark.parametrize(("name", "values"), NAMES)
def test_processes_have_the_job_that_alerts_ask_for_whatever_the_release_is_called(name: str, values: Values) -> None:
    monitor = one(render({**MONITORING, **values}, name=name), "ServiceMonitor")["spec"]
    [job] = {relabeling["replacement"] for end in monitor["endpoints"] for relabeling in end["relabelings"]}
    assert all([r["targetLabel"] for r in end["relabelings"]] == ["job"] for end in monitor["endpoints"])
    assert "jobLabel" not in monitor
    assert is_firing(expressions(values, name)["GenrelayTargetDown"], 10, {f'up{{job="{job}"}}': 0})


@pytest.mark.parametrize(("name", "values"), NAMES)
def test_a_pod_of_the_release_that_is_not_ready_is_seen_and_those_of_others_are_not(name: str, values: Values) -> None:
    expr = expressions(values, name)["GenrelayNotReady"]

    def unready(pod: str) -> Samples:
        return {f'kube_pod_status_ready{{condition="true", pod="{pod}"}}': 0}

    deployments = [m["metadata"]["name"] for m in of_kind(render(values, name=name), "Deployment")]
    assert len(deployments) == 2
    for deployment in deployments:
        assert is_firing(expr, 15, unready(f"{deployment}-5d9c8b7f6-x2x4z"))
        assert not is_firing(expr, 15, unready(f"their-{deployment}-5d9c8b7f6-x2x4z"))


def test_an_installation_is_missed_although_there_is_another() -> None:
    other: Samples = {'genrelay_build_info{namespace="other"}': 1}
    assert is_firing(expressions({})["GenrelayGone"], 5, other)
    assert not is_firing(
        expressions({})["GenrelayGone"], 5, {**other, f'genrelay_build_info{{namespace="{NAMESPACE}"}}': 1}
    )


def test_runbooks_are_found_where_the_operator_keeps_the_documents() -> None:
    def urls(values: Values) -> list[str]:
        groups = one(render(values), "PrometheusRule")["spec"]["groups"]
        return [rule["annotations"]["runbook_url"] for group in groups for rule in group["rules"]]

    told: Values = {"prometheusRule": {"enabled": True, "runbookUrl": "https://git.example.com/genrelay/blob/main/"}}
    plain = [rule.annotations["runbook_url"] for rule in alerts()]
    assert urls(MONITORING) == plain
    assert urls({"monitoring": told}) == [f"https://git.example.com/genrelay/blob/main/{url}" for url in plain]
