"""What an operator relies on: order of an upgrade, time to leave, probes, what is exposed, and what may be reached."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from handlers.app import make_app
from tests.helm.charts import Values, is_hook, notes, of_kind, one, pods, render, toml, value_sets
from tests.world import World

CLIENT_PATHS = ["/v1", "/.well-known/jwks.json", "/openapi.json", "/docs", "/problems"]


def pod(values: Values, component: str) -> dict[str, Any]:
    """Return the pods' spec of a component."""
    return pods(render(values))[f"Deployment/relay-genrelay-{component}"]


def main_container(values: Values, component: str) -> dict[str, Any]:
    """Return the container that serves."""
    return next(c for c in pod(values, component)["containers"] if c["name"] == "genrelay")


def test_the_migration_comes_first_and_stays_when_it_fails() -> None:
    manifests = render({})
    job = one(manifests, "Job")
    notes_of = job["metadata"]["annotations"]
    assert notes_of["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert set(notes_of["helm.sh/hook-delete-policy"].split(",")) == {"before-hook-creation", "hook-succeeded"}
    assert (job["spec"]["activeDeadlineSeconds"], job["spec"]["backoffLimit"]) == (280, 3)
    assert job["spec"]["template"]["spec"]["containers"][0]["args"] == ["migrate"]
    needed = one(manifests, "ConfigMap", "-migrate")["metadata"]["annotations"]
    assert int(needed["helm.sh/hook-weight"]) < int(notes_of["helm.sh/hook-weight"])
    assert needed["helm.sh/hook"] == notes_of["helm.sh/hook"]


def test_a_rollback_runs_no_migration() -> None:
    hooks = {m["metadata"]["annotations"]["helm.sh/hook"] for m in render({}) if is_hook(m)}
    assert hooks == {"pre-install,pre-upgrade", "test"}


def test_the_migration_can_be_switched_off_and_the_notes_say_so() -> None:
    assert of_kind(render({"migrations": {"enabled": False}}), "Job") == []
    assert "genrelay migrate" in notes({"migrations": {"enabled": False}})
    assert "genrelay migrate" not in notes({})


def test_development_migrates_in_the_pods_once_its_postgresql_answers() -> None:
    values = value_sets()["embedded"]
    assert of_kind(render(values), "Job") == []
    for component in ("api", "worker"):
        wait, migrate = pod(values, component)["initContainers"]
        assert "pg_isready" in wait["command"][-1]
        assert migrate["args"] == ["migrate"]
        assert migrate["envFrom"] == main_container(values, component)["envFrom"]


@pytest.mark.parametrize(
    ("config", "api", "worker"),
    [
        ({}, 50, 365),
        ({"engine": {"drain_seconds": 600}}, 50, 645),
        ({"http": {"linger_seconds": 20}}, 65, 365),
        ({"http": {"linger_seconds": 0.5}, "engine": {"drain_seconds": 0.2}}, 46, 46),
    ],
)
def test_a_pod_has_the_time_that_its_settings_take(config: Values, api: int, worker: int) -> None:
    values = {"config": config}
    assert pod(values, "api")["terminationGracePeriodSeconds"] == api
    assert pod(values, "worker")["terminationGracePeriodSeconds"] == worker


def test_a_time_to_leave_of_an_operators_own_wins() -> None:
    values = {"api": {"terminationGracePeriodSeconds": 7}, "worker": {"terminationGracePeriodSeconds": 1000}}
    assert [pod(values, c)["terminationGracePeriodSeconds"] for c in ("api", "worker")] == [7, 1000]


def test_the_api_lingers_until_it_is_known_that_it_leaves_and_workers_need_not() -> None:
    def lingers(values: Values, component: str) -> list[str]:
        told = main_container(values, component)["env"]
        return [each["value"] for each in told if each["name"] == "GENRELAY_HTTP__LINGER_SECONDS"]

    assert lingers({}, "api") == ["5"]
    assert lingers({"api": {"lingerSeconds": 9.5}}, "api") == ["9.5"]
    assert lingers({"config": {"http": {"linger_seconds": 0}}}, "api") == ["0"]
    assert lingers({}, "worker") == []


@pytest.mark.parametrize("component", ["api", "worker"])
def test_a_new_pod_is_ready_before_an_old_one_goes(component: str) -> None:
    strategy = one(render({}), "Deployment", f"-{component}")["spec"]["strategy"]
    assert strategy == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}


@pytest.mark.parametrize("component", ["api", "worker"])
def test_pods_are_probed_three_ways_on_the_port_they_serve(component: str) -> None:
    container = main_container({}, component)
    paths = {probe: container[probe]["httpGet"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert paths == {
        "startupProbe": {"path": "/livez", "port": "http"},
        "readinessProbe": {"path": "/readyz", "port": "http"},
        "livenessProbe": {"path": "/livez", "port": "http"},
    }
    # Ready no more before the linger is over.
    readiness = container["readinessProbe"]
    assert readiness["periodSeconds"] * (readiness["failureThreshold"] - 1) <= 5
    assert container["args"] == ["serve", "--role", component]


def test_a_change_of_settings_rolls_the_pods_and_nothing_else_does() -> None:
    def checksum(values: Values) -> set[str]:
        found = of_kind(render(values), "Deployment")
        annotations = [m["spec"]["template"]["metadata"].get("annotations", {}) for m in found]
        return {each["checksum/config"] for each in annotations if "checksum/config" in each}

    [before] = checksum({})
    assert checksum({"config": {"log_level": "debug"}}) != {before}
    assert checksum({"api": {"replicas": 7}, "existingSecret": "other"}) == {before}
    embedded = value_sets()["embedded"]
    assert checksum(embedded) == checksum(embedded), "made-up passwords are no change"


async def test_every_route_is_for_providers_for_clients_or_for_the_cluster_alone(world: World) -> None:
    paths = {route.path for route in make_app(world.service).routes}  # type: ignore[attr-defined]

    def under(path: str, prefixes: list[str]) -> bool:
        return any(path == prefix or path.startswith(prefix + "/") for prefix in prefixes)

    assert {path for path in paths if not under(path, CLIENT_PATHS)} == {"/livez", "/readyz", "/metrics"}
    assert any(under(path, ["/v1/callbacks"]) for path in paths)


@pytest.mark.parametrize("name", sorted(value_sets()))
def test_nothing_leads_to_metrics_and_probes(name: str) -> None:
    wanted = {"callbacks": ["/v1/callbacks"], "clients": CLIENT_PATHS}
    manifests = render(value_sets()[name])
    for ingress in of_kind(manifests, "Ingress"):
        for rule in ingress["spec"]["rules"]:
            found = [path["path"] for path in rule["http"]["paths"]]
            assert found == wanted[ingress["metadata"]["name"].rpartition("-")[2]]
            assert {path["pathType"] for path in rule["http"]["paths"]} == {"Prefix"}
    for route in of_kind(manifests, "HTTPRoute"):
        matches = route["spec"]["rules"][0]["matches"]
        assert [m["path"]["value"] for m in matches] == wanted[route["metadata"]["name"].rpartition("-")[2]]
    assert {s["spec"].get("type", "ClusterIP") for s in of_kind(manifests, "Service")} <= {"ClusterIP", "NodePort"}


def test_callbacks_and_clients_go_by_ways_of_their_own() -> None:
    manifests = render(value_sets()["split-ingress"])
    callbacks, clients = one(manifests, "Ingress", "-callbacks")["spec"], one(manifests, "Ingress", "-clients")["spec"]
    assert (callbacks["ingressClassName"], clients["ingressClassName"]) == ("public", "internal")
    assert [rule["host"] for rule in callbacks["rules"]] == ["callbacks.example.com"]
    assert [rule["host"] for rule in clients["rules"]] == ["genrelay.internal.example.com", "genrelay.example.net"]
    [any_host] = one(render({"ingress": {"clients": {"enabled": True}}}), "Ingress")["spec"]["rules"]
    assert "host" not in any_host


def ports(rules: list[dict[str, Any]]) -> set[Any]:
    """Return all ports of a network policy's rules."""
    return {port["port"] for rule in rules for port in rule.get("ports", [])}


def test_pods_reach_dns_database_and_https_only() -> None:
    manifests = render({"networkPolicy": {"enabled": True}})
    for component in ("api", "worker"):
        policy = one(manifests, "NetworkPolicy", f"-{component}")["spec"]
        assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
        assert ports(policy["egress"]) == {53, 5432, 443, 8443}
        assert ports(policy["ingress"]) == {"http"}
        assert all("ports" in rule for rule in policy["egress"]), "a rule without ports opens everything"


def test_the_migration_reaches_its_database_although_it_comes_before_the_policies_of_the_rest() -> None:
    policy = one(render(value_sets()["external-database"]), "NetworkPolicy", "-migrate")
    job = one(render(value_sets()["external-database"]), "Job")
    labels = job["spec"]["template"]["metadata"]["labels"]
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
    assert ports(policy["spec"]["egress"]) == {53, 5432, 6432}
    told, of_job = policy["metadata"]["annotations"], job["metadata"]["annotations"]
    assert told["helm.sh/hook"] == of_job["helm.sh/hook"]
    assert int(told["helm.sh/hook-weight"]) < int(of_job["helm.sh/hook-weight"])


def test_tests_of_the_release_may_reach_the_api_wherever_else_requests_must_come_from() -> None:
    manifests = render(value_sets()["everything-on"])
    sources = one(manifests, "NetworkPolicy", "-api")["spec"]["ingress"][0]["from"]
    labels = one(manifests, "Pod", "-submit")["metadata"]["labels"]
    assert any(s["podSelector"]["matchLabels"].items() <= labels.items() for s in sources if "podSelector" in s)


def test_in_development_pods_reach_each_other_through_a_network_policy() -> None:
    manifests = render({"development": {"enabled": True}, "networkPolicy": {"enabled": True}})
    selector = one(manifests, "NetworkPolicy", "-api")["spec"]["podSelector"]["matchLabels"]
    own = {key: value for key, value in selector.items() if not key.endswith("component")}
    for component in ("api", "worker"):
        egress = one(manifests, "NetworkPolicy", f"-{component}")["spec"]["egress"]
        assert {"to": [{"podSelector": {"matchLabels": own}}]} in egress


def test_an_autoscaler_alone_decides_how_many_there_are() -> None:
    manifests = render(value_sets()["everything-on"])
    for component in ("api", "worker"):
        assert "replicas" not in one(manifests, "Deployment", f"-{component}")["spec"]
        target = one(manifests, "HorizontalPodAutoscaler", f"-{component}")["spec"]["scaleTargetRef"]["name"]
        assert target == f"relay-genrelay-{component}"
    off = render(value_sets()["hpa-off"])
    assert of_kind(off, "HorizontalPodAutoscaler") == []
    assert [m["spec"]["replicas"] for m in of_kind(off, "Deployment")] == [1, 1]


def test_workers_scale_by_a_metric_only_if_there_is_one() -> None:
    nameless = {"worker": {"autoscaling": {"enabled": True}}}
    assert of_kind(render(nameless), "HorizontalPodAutoscaler", "-worker") == []
    assert "names no metric" in notes(nameless)
    per_pod = {"worker": {"autoscaling": {"enabled": True, "queueAge": {"type": "Pods", "metricName": "age"}}}}
    [metric] = one(render(per_pod), "HorizontalPodAutoscaler", "-worker")["spec"]["metrics"]
    assert metric["pods"] == {"metric": {"name": "age"}, "target": {"type": "AverageValue", "averageValue": "30"}}


def test_pods_are_spread_by_their_own_labels_unless_told_otherwise() -> None:
    found = pod({}, "worker")["topologySpreadConstraints"]
    assert [each["topologyKey"] for each in found] == ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]
    assert {each["whenUnsatisfiable"] for each in found} == {"ScheduleAnyway"}
    assert all(each["labelSelector"]["matchLabels"]["app.kubernetes.io/component"] == "worker" for each in found)
    own = {"maxSkew": 1, "topologyKey": "rack", "labelSelector": {"matchLabels": {"a": "b"}}}
    assert pod({"api": {"topologySpreadConstraints": [own]}}, "api")["topologySpreadConstraints"] == [own]
    assert "topologySpreadConstraints" not in pod({"api": {"topologySpreadConstraints": []}}, "api")


def test_a_digest_wins_over_a_tag() -> None:
    digest = "sha256:" + "0" * 64
    image = {"repository": "registry.example.com/genrelay", "tag": "0.1.0", "digest": digest}
    assert main_container({"image": image}, "api")["image"] == f"registry.example.com/genrelay@{digest}"
    assert main_container({"image": {"tag": "0.1.0"}}, "api")["image"] == "genrelay:0.1.0"
    assert main_container({}, "api")["image"] == "genrelay:0.2.0"


def test_an_operators_variables_win_over_the_charts_and_a_components_over_both() -> None:
    values = {
        "extraEnv": [{"name": "GENRELAY_LOG_FORMAT", "value": "console"}, {"name": "AWS_REGION", "value": "a"}],
        "worker": {"extraEnv": [{"name": "AWS_REGION", "value": "b"}]},
    }
    told = {c: {e["name"]: e["value"] for e in main_container(values, c)["env"]} for c in ("api", "worker")}
    assert [told[c]["AWS_REGION"] for c in ("api", "worker")] == ["a", "b"]
    assert told["api"]["GENRELAY_LOG_FORMAT"] == "console"


def test_the_notes_say_what_is_missing() -> None:
    assert "every job is polled" in notes({})
    assert "relay-genrelay" in notes({})
    reached = notes(value_sets()["split-ingress"])
    assert "every job is polled" not in reached
    assert "something else has to lead there" not in reached
    assert "something else has to lead there" in notes(value_sets()["irsa"])
    assert "development" in notes(value_sets()["embedded"])
    for name in value_sets():
        assert "{{" not in notes(value_sets()[name])
        assert "<no value>" not in notes(value_sets()[name])


def test_the_secret_of_a_release_has_a_name_that_the_notes_tell() -> None:
    assert '"relay-genrelay"' in notes({})
    assert main_container({}, "api")["envFrom"] == [{"secretRef": {"name": "relay-genrelay"}}]
    assert main_container({"existingSecret": "0815"}, "api")["envFrom"] == [{"secretRef": {"name": "0815"}}]


def test_a_secret_of_the_operators_wins_over_the_made_up_one() -> None:
    values = {"development": {"enabled": True}, "existingSecret": "mine"}
    names = [source["secretRef"]["name"] for source in main_container(values, "api")["envFrom"]]
    assert names == ["relay-genrelay-development", "mine"]


def test_the_guard_lets_development_reach_private_subnets_and_nobody_else() -> None:
    assert "allowed_private_subnets" not in toml(render({}))
    assert "10.0.0.0/8" in toml(render(value_sets()["embedded"]))


def test_the_postgresql_of_development_keeps_its_data_where_it_was_told_to() -> None:
    def volume(values: Values) -> dict[str, Any]:
        found = pods(render(values))["Deployment/relay-genrelay-postgresql"]["volumes"]
        return next(v for v in found if v["name"] == "data")

    kept = {"development": {"enabled": True, "postgresql": {"storage": "1Gi", "storageClassName": "fast"}}}
    assert volume(value_sets()["embedded"]) == {"name": "data", "emptyDir": {}}
    assert volume(kept)["persistentVolumeClaim"] == {"claimName": "relay-genrelay-postgresql"}
    claim = one(render(kept), "PersistentVolumeClaim")["spec"]
    assert (claim["resources"]["requests"]["storage"], claim["storageClassName"]) == ("1Gi", "fast")
    assert yaml.safe_dump(claim)
