"""The chart, rendered by the real Helm."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import helm_python as helm
import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "genrelay"
Values = dict[str, Any]
Manifest = dict[str, Any]
RELEASE, NAMESPACE = "relay", "images"


def value_sets() -> dict[str, Values]:
    """Return the sets of values that everything is tried with: the defaults, and those of `ci/`."""
    found = {
        path.name.removesuffix("-values.yaml"): yaml.safe_load(path.read_text(encoding="utf-8"))
        for path in sorted((CHART / "ci").glob("*-values.yaml"))
    }
    return {"defaults": {}, **found}


@functools.cache
def chart() -> helm.Chart:
    """Return the chart, loaded once."""
    return helm.Chart.load(CHART)


def render_files(values: Values, *, name: str = RELEASE, namespace: str = NAMESPACE) -> dict[str, str]:
    """Return what each template renders to, by its path below the chart."""
    rendered = chart().render(values, name=name, namespace=namespace)
    return {path.partition("/")[2]: text for path, text in sorted(rendered.items())}


def render(values: Values, *, name: str = RELEASE, namespace: str = NAMESPACE) -> list[Manifest]:
    """Return every manifest, hooks included."""
    texts = render_files(values, name=name, namespace=namespace)
    return [
        manifest
        for path, text in texts.items()
        if path.endswith(".yaml")
        for manifest in yaml.safe_load_all(text)
        if manifest
    ]


def notes(values: Values) -> str:
    """Return what `helm install` says at its end."""
    return render_files(values)["templates/NOTES.txt"]


def of_kind(manifests: list[Manifest], kind: str, ending: str = "") -> list[Manifest]:
    """Return those of a kind whose names end so."""
    return [m for m in manifests if m["kind"] == kind and m["metadata"]["name"].endswith(ending)]


def one(manifests: list[Manifest], kind: str, ending: str = "") -> Manifest:
    """Return the only one of a kind whose name ends so."""
    [found] = of_kind(manifests, kind, ending)
    return found


def pods(manifests: list[Manifest]) -> dict[str, Manifest]:
    """Return every pod's spec, by kind and name of what it is in."""
    found = {}
    for manifest in manifests:
        spec = manifest if manifest["kind"] == "Pod" else manifest.get("spec", {}).get("template")
        if manifest["kind"] in {"Pod", "Deployment", "Job", "StatefulSet"}:
            assert spec is not None
            found[f"{manifest['kind']}/{manifest['metadata']['name']}"] = spec["spec"]
    return found


def is_hook(manifest: Manifest) -> bool:
    """Tell whether Helm makes it before the rest, or for a test."""
    return "helm.sh/hook" in manifest["metadata"].get("annotations", {})


def environment(container: Manifest) -> dict[str, str]:
    """Return the variables of a container that are given as text; of two with one name the last one counts."""
    return {each["name"]: each["value"] for each in container.get("env", []) if "value" in each}


def toml(manifests: list[Manifest], ending: str = "-config") -> str:
    """Return the settings' file."""
    return str(one(manifests, "ConfigMap", ending)["data"]["genrelay.toml"])
