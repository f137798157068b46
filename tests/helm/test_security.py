"""Every pod of the chart passes Kubernetes' restricted security standard, and no secret comes with the chart.

https://kubernetes.io/docs/concepts/security/pod-security-standards/ (checked 2026-11)
"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.helm.charts import CHART, Values, of_kind, one, pods, render, value_sets

SETS = sorted(value_sets())
VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
OURS = {"genrelay", "migrate", "sandbox", "postgresql", "wait-for-postgresql", "submit", "check-webhook"}


def containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    """Return all containers of a pod."""
    return [*pod.get("initContainers", []), *pod["containers"]]


@pytest.mark.parametrize("name", SETS)
def test_every_pod_is_restricted(name: str) -> None:
    found = pods(render(value_sets()[name]))
    assert len(found) >= 2
    for pod in found.values():
        assert not {"hostNetwork", "hostPID", "hostIPC", "hostUsers"} & set(pod)
        security = pod["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert security["runAsUser"] > 0
        assert all(set(volume) - {"name"} <= VOLUMES for volume in pod.get("volumes", []))
        for container in containers(pod):
            own = container["securityContext"]
            assert own["allowPrivilegeEscalation"] is False
            assert own["capabilities"] == {"drop": ["ALL"]}
            assert own.get("runAsUser", 1) != 0
            assert not own.get("privileged", False)
            assert all("hostPort" not in port for port in container.get("ports", []))


@pytest.mark.parametrize("name", SETS)
def test_what_is_ours_is_read_only_and_has_no_token_of_the_clusters(name: str) -> None:
    for where, pod in pods(render(value_sets()[name])).items():
        assert pod["automountServiceAccountToken"] is False, where
        for container in containers(pod):
            if container["name"] not in OURS:
                continue
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            mounts = {mount["mountPath"] for mount in container.get("volumeMounts", [])}
            assert "/tmp" in mounts or container["name"] == "wait-for-postgresql", where


@pytest.mark.parametrize("name", SETS)
def test_services_leave_no_variables_in_pods(name: str) -> None:
    # A Service named genrelay would set GENRELAY_PORT=tcp://…, which is a setting of ours.
    assert all(pod["enableServiceLinks"] is False for pod in pods(render(value_sets()[name])).values())


def test_the_user_can_be_left_to_the_cluster() -> None:
    free = render({"podSecurity": {"runAsUser": None, "runAsGroup": None, "fsGroup": None}})
    for pod in pods(free).values():
        assert pod["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}


def test_large_numbers_of_users_stay_numbers() -> None:
    text = json.dumps(pods(render({"podSecurity": {"runAsUser": 1_000_680_000}})))
    assert '"runAsUser": 1000680000' in text


@pytest.mark.parametrize("name", sorted(set(SETS) - {"embedded"}))
def test_no_secret_comes_with_the_chart(name: str) -> None:
    assert of_kind(render(value_sets()[name]), "Secret") == []


def test_development_makes_up_its_secrets_each_time_anew() -> None:
    values: Values = {"development": {"enabled": True}}
    first, second = (one(render(values), "Secret", "-development")["stringData"] for _ in range(2))
    for key in ("POSTGRES_PASSWORD", "GENRELAY_SECRET_KEY", "GENRELAY_BOOTSTRAP_API_KEY"):
        assert first[key] != second[key]
        assert re.fullmatch(r"[A-Za-z0-9]{32,}", first[key])
    assert first["POSTGRES_PASSWORD"] in first["GENRELAY_DATABASE_URL"]


def test_development_keeps_what_it_made_up() -> None:
    # Helm's lookup answers nothing without a cluster, so the template is what can be looked at.
    template = (CHART / "templates" / "development.yaml").read_text(encoding="utf-8")
    assert template.count("| b64dec | default (randAlphaNum ") == template.count("randAlphaNum") == 3


def test_a_secret_has_no_place_in_the_values() -> None:
    schema = (CHART / "values.schema.json").read_text(encoding="utf-8")
    for name in ("api_key", "secret_key", "database_url", "secret_access_key", "bootstrap_api_key"):
        assert f'"{name}"' not in schema
