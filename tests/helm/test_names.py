"""Names: long releases, several releases in one namespace, and labels that can never change."""

from __future__ import annotations

import re
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helm.charts import Manifest, of_kind, one, render, value_sets

EVERYTHING = value_sets()["everything-on"] | {"extraObjects": []}
DEVELOPMENT = {"development": {"enabled": True, "postgresql": {"storage": "1Gi"}}}
# A Service's name, the narrowest of all: RFC 1035.
_NAME = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
_LABEL = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
# What Helm takes for a release: 53 characters at most.
RELEASES = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,51}[a-z0-9])?", fullmatch=True)


def names(manifests: list[Manifest]) -> set[tuple[str, str]]:
    """Return kind and name of each."""
    return {(m["kind"], m["metadata"]["name"]) for m in manifests}


@given(RELEASES)
def test_any_release_has_names_that_can_be_names(release: str) -> None:
    for values in (EVERYTHING, DEVELOPMENT):
        for manifest in render(values, name=release):
            assert _NAME.fullmatch(manifest["metadata"]["name"]), manifest["metadata"]["name"]
            # What a Deployment adds, a pod's name has too, and that is also a label.
            assert len(manifest["metadata"]["name"]) <= 63
            assert all(_LABEL.fullmatch(label) for label in manifest["metadata"]["labels"].values())


def test_a_release_with_dots_and_a_digit_has_names_too() -> None:
    for release in ("a.release.of-mine", "7th"):
        assert all(_NAME.fullmatch(name) for _, name in names(render(EVERYTHING, name=release)))


LONG = "a-release-with-a-name-as-long-as-helm-lets-it-be-"


@pytest.mark.parametrize("values", [EVERYTHING, DEVELOPMENT])
def test_releases_in_one_namespace_share_nothing(values: dict[str, object]) -> None:
    releases = ["genrelay", "genrelay-api", "genrelay-worker", "relay", "re.lay", "re-lay", LONG + "one", LONG + "two"]
    found = {release: names(render(values, name=release)) for release in releases}
    for first, second in combinations(releases, 2):
        assert found[first].isdisjoint(found[second]), (first, second)


def test_the_charts_name_is_not_said_twice() -> None:
    assert ("Service", "genrelay-api") in names(render({}, name="genrelay"))
    assert ("Service", "mine-genrelay-api") in names(render({}, name="mine"))
    assert ("Service", "mine-other-api") in names(render({"nameOverride": "other"}, name="mine"))
    assert ("Service", "plain-api") in names(render({"fullnameOverride": "plain"}, name="mine"))


def test_selectors_are_labels_that_never_change() -> None:
    for manifest in of_kind(render(EVERYTHING), "Deployment"):
        selector = manifest["spec"]["selector"]["matchLabels"]
        assert set(selector) == {
            "app.kubernetes.io/name", "app.kubernetes.io/instance", "app.kubernetes.io/component",
        }  # fmt: skip
        assert selector.items() <= manifest["spec"]["template"]["metadata"]["labels"].items()
        assert "helm.sh/chart" not in manifest["spec"]["template"]["metadata"]["labels"]


def test_labels_of_an_operators_own_can_not_lead_a_service_astray() -> None:
    label = {"podLabels": {"app.kubernetes.io/component": "api", "team": "images"}}
    for values, kind in ((render({"worker": label}), "Deployment"), (render({"migrations": label}), "Job")):
        ending = "-worker" if kind == "Deployment" else "-migrate"
        labels = one(values, kind, ending)["spec"]["template"]["metadata"]["labels"]
        assert labels["app.kubernetes.io/component"] == ending[1:]
        assert labels["team"] == "images"


@pytest.mark.parametrize("values", [EVERYTHING, DEVELOPMENT])
def test_a_service_finds_the_pods_of_its_own_component_only(values: dict[str, object]) -> None:
    manifests = render(values)
    templates = [m["spec"]["template"]["metadata"]["labels"] for m in manifests if m["kind"] in {"Deployment", "Job"}]
    templates += [m["metadata"]["labels"] for m in of_kind(manifests, "Pod")]
    for service in of_kind(manifests, "Service"):
        wanted = service["spec"]["selector"].items()
        found = [labels for labels in templates if wanted <= labels.items()]
        assert len(found) == 1, service["metadata"]["name"]
