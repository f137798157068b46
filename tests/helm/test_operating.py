"""What an operator relies on: order of an upgrade, time to leave, probes, what is exposed, and what may be reached."""

from __future__ import annotations

import math
from typing import Any

import helm_python as helm
import pytest
import yaml

from config.settings import EngineSettings
from handlers.app import make_app
from service import serving
from tests.cli.command import clean_environment, run
from tests.helm.charts import Values, is_hook, notes, of_kind, one, pods, render, toml, value_sets
from tests.world import World

CLIENT_PATHS = [
    "/v1/account", "/v1/deliveries", "/v1/destinations", "/v1/events", "/v1/jobs", "/v1/providers", "/v1/subscriptions",
    "/v1/webhook-checks", "/.well-known/jwks.json", "/openapi.json", "/docs", "/problems",
]  # fmt: skip


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
    assert job["spec"]["activeDeadlineSeconds"] < 300, "Helm waits for five minutes"
    assert job["spec"]["template"]["spec"]["containers"][0]["args"][0] == "migrate"
    needed = one(manifests, "ConfigMap", "-migrate")["metadata"]["annotations"]
    assert int(needed["helm.sh/hook-weight"]) < int(notes_of["helm.sh/hook-weight"])
    assert needed["helm.sh/hook"] == notes_of["helm.sh/hook"]


@pytest.mark.parametrize(("deadline", "again"), [(280, 1), (280, 0), (280, 3), (3600, 6), (3600, 1)])
def test_every_try_of_the_migration_ends_by_itself_before_its_pod_is_taken_away(deadline: int, again: int) -> None:
    values = {"migrations": {"activeDeadlineSeconds": deadline, "backoffLimit": again}}
    spec = one(render(values if deadline != 280 or again != 1 else {}), "Job")["spec"]
    assert (spec["activeDeadlineSeconds"], spec["backoffLimit"]) == (deadline, again)
    option, seconds = spec["template"]["spec"]["containers"][0]["args"][1:]
    assert option == "--patience"
    # 30 s to start; Kubernetes' pauses double, beginning at 10 s.
    tries = (again + 1) * (int(seconds) + 30) + sum(min(360, 10 * 2**pause) for pause in range(again))
    assert deadline - again - 1 <= tries <= deadline
    assert int(seconds) >= 20


def test_tries_for_which_there_is_no_time_are_refused() -> None:
    with pytest.raises(helm.HelmError, match="activeDeadlineSeconds: 7 tries"):
        render({"migrations": {"backoffLimit": 6}})


async def test_the_migration_takes_the_arguments_that_the_job_gives_it(database_url: str) -> None:
    container = one(render({}), "Job")["spec"]["template"]["spec"]["containers"][0]
    settings = {"GENRELAY_DATABASE_URL": database_url, "GENRELAY_SECRET_KEY": "a secret key for tests - 32 characters"}
    ran = await run(*container["args"], environment=clean_environment(**settings))
    assert ran.status == 0, ran.err


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
        ({}, 5, EngineSettings().drain_seconds),
        ({"engine": {"drain_seconds": 600}}, 5, 600),
        ({"http": {"linger_seconds": 20}}, 20, 320),
        ({"http": {"linger_seconds": 0.5}, "engine": {"drain_seconds": 0.2}}, 0.5, 0.2),
    ],
)
def test_a_pod_has_the_time_that_its_settings_and_the_requests_under_way_take(
    config: Values, api: float, worker: float
) -> None:
    for component, first in (("api", api), ("worker", worker)):
        given = pod({"config": config}, component)["terminationGracePeriodSeconds"]
        assert given == math.ceil(first + serving._GRACE_SECONDS + 15)


def test_a_pod_has_the_time_that_its_variables_say() -> None:
    def grace(component: str, **values: Any) -> int:
        return int(pod(values, component)["terminationGracePeriodSeconds"])

    def env(name: str, value: str) -> list[Values]:
        return [{"name": name, "value": value}]

    drain, linger = "GENRELAY_ENGINE__DRAIN_SECONDS", "GENRELAY_HTTP__LINGER_SECONDS"
    config = {"engine": {"drain_seconds": 400}, "http": {"linger_seconds": 6}}
    assert grace("worker", extraEnv=env(drain, "600"), config=config) == 675
    assert grace("worker", extraEnv=env(drain, "600"), worker={"extraEnv": env(drain, "700.5")}) == 776
    assert grace("api", extraEnv=env(linger, "30"), config=config) == 105
    assert grace("api", extraEnv=env(linger, "30"), api={"extraEnv": env(linger, "40")}) == 115
    assert grace("worker", api={"extraEnv": env(drain, "600")}) == 395


@pytest.mark.parametrize("given", [{"value": "long"}, {"valueFrom": {"configMapKeyRef": {"name": "a", "key": "b"}}}])
def test_a_time_to_leave_that_can_not_be_known_is_refused(given: Values) -> None:
    values: Values = {"extraEnv": [{"name": "GENRELAY_ENGINE__DRAIN_SECONDS", **given}]}
    with pytest.raises(helm.HelmError, match=r"set config\.engine\.drain_seconds"):
        render(values)
    render(values | {"worker": {"terminationGracePeriodSeconds": 900}})


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
def test_another_way_to_replace_pods_has_nothing_of_the_default_one(component: str) -> None:
    manifests = render({component: {"strategy": {"type": "Recreate"}}})
    assert one(manifests, "Deployment", f"-{component}")["spec"]["strategy"] == {"type": "Recreate"}


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

    callbacks = {path for path in paths if under(path, ["/v1/callbacks"])}
    assert callbacks
    assert {path for path in paths if not under(path, CLIENT_PATHS)} == {"/livez", "/readyz", "/metrics"} | callbacks
    for path in paths:
        assert len([prefix for prefix in CLIENT_PATHS if under(path, [prefix])]) <= 1, path
    for prefix in CLIENT_PATHS:
        assert any(under(path, [prefix]) for path in paths), prefix


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
        matches = [match for rule in route["spec"]["rules"] for match in rule["matches"]]
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


def test_every_policy_lets_dns_through_by_udp_and_for_long_answers_by_tcp() -> None:
    policies = of_kind(render({"networkPolicy": {"enabled": True}}), "NetworkPolicy")
    assert len(policies) == 3
    for policy in policies:
        given = [port for rule in policy["spec"]["egress"] for port in rule["ports"] if port["port"] == 53]
        assert sorted(port["protocol"] for port in given) == ["TCP", "UDP"], policy["metadata"]["name"]


def test_prometheus_reaches_the_api_whoever_else_may() -> None:
    clients, prometheus = ({"podSelector": {"matchLabels": {"app": name}}} for name in ("clients", "prometheus"))
    monitored = {"monitoring": {"serviceMonitor": {"enabled": True}}}
    policy: Values = {"enabled": True, "apiFrom": [clients]}
    with pytest.raises(helm.HelmError, match=r"networkPolicy\.metricsFrom"):
        render(monitored | {"networkPolicy": policy})
    manifests = render(monitored | {"networkPolicy": policy | {"metricsFrom": [prometheus]}})
    for component in ("api", "worker"):
        rules = one(manifests, "NetworkPolicy", f"-{component}")["spec"]["ingress"]
        assert {"ports": [{"port": "http"}], "from": [prometheus]} in rules
    # Without one of the two nobody is shut out.
    assert render({"networkPolicy": policy})
    assert render(monitored | {"networkPolicy": {"enabled": True}})


def test_a_proxy_to_the_database_that_the_migration_runs_with_reaches_its_cloud() -> None:
    proxy = {"name": "proxy", "image": "registry.example.com/proxy:1", "restartPolicy": "Always"}
    values: Values = {"networkPolicy": {"enabled": True}, "extraInitContainers": [proxy]}
    assert ports(one(render(values), "NetworkPolicy", "-migrate")["spec"]["egress"]) == {53, 5432, 443, 8443}


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
