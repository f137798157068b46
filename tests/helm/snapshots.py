"""What the chart renders to, as files to be read in a review: `python -m tests.helm.snapshots` rewrites them.

Look at the difference before it is committed: it is what a cluster will be told. Nothing but that command writes them.
"""

from __future__ import annotations

import sys
from pathlib import Path

import yaml

from tests.helm.charts import ROOT, Manifest, render, value_sets

FOLDER = Path(__file__).parent / "snapshots"
MADE_UP = frozenset({"POSTGRES_PASSWORD", "GENRELAY_SECRET_KEY", "GENRELAY_BOOTSTRAP_API_KEY", "GENRELAY_DATABASE_URL"})


def snapshot(name: str) -> str:
    """Return what a set of values renders to, in an order of its own, without what is made up each time."""
    manifests = [_stable(manifest) for manifest in render(value_sets()[name])]
    ordered = sorted(manifests, key=lambda m: (m["kind"], m["metadata"]["name"]))
    return str(yaml.safe_dump_all(ordered, sort_keys=True, width=120, allow_unicode=True))


def snapshot_path(name: str) -> Path:
    """Return the file of a set of values."""
    return FOLDER / f"{name}.yaml"


def _stable(manifest: Manifest) -> Manifest:
    if manifest["kind"] == "Secret":
        told = manifest["stringData"]
        return manifest | {"stringData": {k: "made up" if k in MADE_UP else v for k, v in told.items()}}
    if manifest["metadata"]["name"].endswith("-dashboard"):
        # The dashboard is a file of its own, beside the chart's templates, and so are the alerts.
        return manifest | {"data": dict.fromkeys(manifest["data"], "files/dashboard.json")}
    if manifest["kind"] == "PrometheusRule":
        return manifest | {"spec": {"groups": [group["name"] for group in manifest["spec"]["groups"]]}}
    return manifest


def write_snapshots() -> None:
    """Write all files, and remove those of sets that are gone."""
    FOLDER.mkdir(exist_ok=True)
    names = set(value_sets())
    for path in FOLDER.glob("*.yaml"):
        if path.stem not in names:
            path.unlink()
    for name in sorted(names):
        snapshot_path(name).write_text(snapshot(name), encoding="utf-8")
        sys.stdout.write(f"{snapshot_path(name).relative_to(ROOT)}\n")


if __name__ == "__main__":
    write_snapshots()
