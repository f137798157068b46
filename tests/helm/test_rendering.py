"""Helm lints and renders the chart, and Kubernetes' own schemas accept what comes out."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import helm_python as helm
import kubernetes_validate
import pytest
import yaml
from kubernetes_validate.utils import all_versions, major_minor

from tests.helm.charts import CHART, ROOT, Values, is_hook, of_kind, one, render, render_files, value_sets
from tests.helm.snapshots import FOLDER, snapshot, snapshot_path

SETS = sorted(value_sets())
VERSIONS = sorted({major_minor(version) for version in all_versions()}, key=lambda v: [int(p) for p in v.split(".")])
NEWEST = VERSIONS[-3:]
# Kinds of other projects; their shapes are looked at in test_custom_kinds.py.
CUSTOM = {"HTTPRoute", "ServiceMonitor", "PrometheusRule"}
_NAME = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")


def test_there_are_six_sets_of_values_beside_the_defaults() -> None:
    wanted = {"embedded", "external-database", "irsa", "split-ingress", "hpa-off", "everything-on"}
    assert set(SETS) == {"defaults", *wanted}
    assert len(NEWEST) == 3


def test_the_charts_version_is_the_projects() -> None:
    told = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert (told["version"], told["appVersion"]) == (version, version)


@pytest.mark.parametrize("name", SETS)
def test_helm_lints_it_strictly(name: str) -> None:
    report = helm.lint(CHART, value_sets()[name], strict=True, namespace="images")
    assert report["errors"] == []
    assert [found for found in report["messages"] if found["severity"] > 1] == []
    assert report["total_charts_linted"] == 1


@pytest.mark.parametrize("version", NEWEST)
@pytest.mark.parametrize("name", SETS)
def test_kubernetes_accepts_every_manifest(name: str, version: str) -> None:
    looked_at = 0
    for manifest in render(value_sets()[name]):
        if manifest["kind"] not in CUSTOM:
            assert kubernetes_validate.validate(manifest, version, strict=True) == version
            looked_at += 1
    assert looked_at >= 5


def test_the_schemas_would_notice_a_misspelt_field() -> None:
    deployment = one(render({}), "Deployment", "-api")
    deployment["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, NEWEST[-1], strict=True)


def test_kinds_of_other_projects_are_off_unless_asked_for() -> None:
    assert {m["kind"] for m in render({})}.isdisjoint(CUSTOM)
    assert {m["kind"] for m in render(value_sets()["everything-on"])} >= CUSTOM


@pytest.mark.parametrize("name", SETS)
def test_every_object_is_there_once_and_its_name_can_be_one(name: str) -> None:
    manifests = render(value_sets()[name])
    names = [(m["kind"], m["metadata"]["name"]) for m in manifests]
    assert len(set(names)) == len(names)
    assert all(_NAME.fullmatch(each) for _, each in names), names
    assert all("namespace" not in m["metadata"] for m in manifests), "where it goes is said by `helm -n`"


@pytest.mark.parametrize("name", SETS)
def test_rendering_is_the_snapshot(name: str) -> None:
    path = snapshot_path(name)
    assert path.exists(), "python -m tests.helm.snapshots writes it"
    assert snapshot(name) == path.read_text(encoding="utf-8"), (
        "if this is meant, run `python -m tests.helm.snapshots` and read the difference before it is committed"
    )


def test_there_is_no_snapshot_of_nothing() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == set(SETS)


@pytest.mark.parametrize("name", SETS)
def test_every_object_says_whose_it_is(name: str) -> None:
    for manifest in render(value_sets()[name]):
        if manifest["metadata"]["name"] in {"relay-more", "relay-most"}:
            continue  # the operator's own
        labels = manifest["metadata"]["labels"]
        assert labels["app.kubernetes.io/instance"] == "relay"
        assert labels["app.kubernetes.io/managed-by"] == "Helm"


def test_a_release_is_the_same_however_often_it_is_rendered() -> None:
    values = value_sets()["everything-on"]
    assert render_files(values) == render_files(values)


def test_extra_objects_are_templates_whether_maps_or_texts() -> None:
    found = of_kind(render(value_sets()["everything-on"]), "ConfigMap")
    assert {"relay-more", "relay-most"} <= {m["metadata"]["name"] for m in found}


def test_without_its_serviceaccount_the_pods_use_one_that_is_there() -> None:
    bare = render({"serviceAccount": {"create": False}})
    assert of_kind(bare, "ServiceAccount") == []
    assert one(bare, "Deployment", "-api")["spec"]["template"]["spec"]["serviceAccountName"] == "default"
    named = render({"serviceAccount": {"create": False, "name": "mine"}})
    assert one(named, "Deployment", "-api")["spec"]["template"]["spec"]["serviceAccountName"] == "mine"


def references(manifest: dict[str, Any]) -> set[tuple[str, str]]:
    """Return the ConfigMaps, Secrets, claims and ServiceAccounts that a manifest's pods need."""
    spec = manifest if manifest["kind"] == "Pod" else manifest["spec"].get("template", {})
    pod = spec.get("spec", {})
    found = {("ServiceAccount", pod["serviceAccountName"])} if "serviceAccountName" in pod else set()
    for volume in pod.get("volumes", []):
        if "configMap" in volume:
            found.add(("ConfigMap", volume["configMap"]["name"]))
        if "persistentVolumeClaim" in volume:
            found.add(("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]))
    for container in pod.get("containers", []) + pod.get("initContainers", []):
        for source in container.get("envFrom", []):
            found |= {("Secret", ref["name"]) for kind, ref in source.items() if kind == "secretRef"}
        for variable in container.get("env", []):
            key = variable.get("valueFrom", {}).get("secretKeyRef")
            found |= {("Secret", key["name"])} if key else set()
    return found


@pytest.mark.parametrize("values", [{}, {"development": {"enabled": True, "postgresql": {"storage": "1Gi"}}}])
def test_what_pods_need_is_there_but_for_the_operators_secret(values: Values) -> None:
    manifests = render(values)
    there = {(m["kind"], m["metadata"]["name"]) for m in manifests}
    for manifest in manifests:
        if manifest["kind"] in {"Deployment", "Job", "Pod"}:
            missing = references(manifest) - there
            assert missing <= (set() if values else {("Secret", "relay-genrelay")}), manifest["metadata"]["name"]


def test_the_migration_needs_nothing_that_comes_after_it() -> None:
    values = value_sets()["everything-on"] | {"extraVolumes": [], "extraVolumeMounts": []}
    manifests = render(values)
    before = {(m["kind"], m["metadata"]["name"]) for m in manifests if is_hook(m)}
    job = one(manifests, "Job", "-migrate")
    assert references(job) - before == {("Secret", "genrelay-production"), ("ServiceAccount", "migrator")}
    bare = one(render({}), "Job", "-migrate")["spec"]["template"]["spec"]
    assert "serviceAccountName" not in bare
    assert bare["automountServiceAccountToken"] is False
