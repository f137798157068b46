"""`config` is the service's own settings, and they arrive as they were meant."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import helm_python as helm
import pytest

from config.loading import load_settings, unknown_variables
from config.reference import NAME, Setting, list_settings
from config.settings import Settings
from tests.helm.charts import CHART, Values, environment, one, pods, render, toml, value_sets
from tests.helm.schema import config_schema, given_in_the_file, render_schema

SETS = sorted(value_sets())
SECRETS = {
    "GENRELAY_DATABASE_URL": "postgresql://genrelay@db.example.com/genrelay",
    "GENRELAY_SECRET_KEY": "a secret key for tests - 32 characters or more",
}


def load(text: str, folder: Path, **more: str) -> Settings:
    """Return the settings that a pod with this file would have."""
    path = folder / "genrelay.toml"
    path.write_text(text, encoding="utf-8")
    return load_settings({**SECRETS, **more, "GENRELAY_CONFIG": str(path)})


@pytest.mark.parametrize("name", SETS)
def test_the_file_of_every_set_is_read_without_mistakes(name: str, tmp_path: Path) -> None:
    manifests = render(value_sets()[name])
    loaded = load(toml(manifests), tmp_path)
    given = value_sets()[name].get("config", {})
    assert str(loaded.public_url) == given.get("public_url", str(loaded.public_url))
    assert unknown_variables({"GENRELAY_CONFIG": str(tmp_path / "genrelay.toml")}) == []


@pytest.mark.parametrize("name", sorted(set(SETS) - {"embedded", "hpa-off"}))
def test_the_migration_reads_the_same_file(name: str) -> None:
    manifests = render(value_sets()[name])
    assert toml(manifests, "-migrate") == toml(manifests)


def test_large_and_broken_numbers_arrive_as_they_were_written(tmp_path: Path) -> None:
    manifests = render(value_sets()["external-database"])
    assert "e+" not in toml(manifests)
    loaded = load(toml(manifests), tmp_path)
    assert loaded.outputs.memory_bytes == 2_684_354_560
    assert loaded.delivery.retry_schedule == [5, 60.5, 3600, 1_000_000]
    assert loaded.providers.novita.operations["seedream-4.0"].concurrency == 8
    assert isinstance(tomllib.loads(toml(manifests))["outputs"]["memory_bytes"], int)


def sample(setting: Setting) -> Any:
    """Return a value for a setting that is not its default, and that the service takes."""
    samples: dict[str, Any] = {
        "public_url": "https://callbacks.example.com",
        "base_url": "https://provider.example.com",
        "endpoint_url": "https://s3.example.com",
        "aws_principal": "123456789012",
        "allowed_private_subnets": ["10.0.0.0/8"],
        "log_level": "debug",
        "log_format": "console",
        "region": "eu-central-1",
        "bucket": "spool",
        "path": "/v3/async/more" if setting.named else "prefix",
        "outputs": ["video"],
        "output_hosts": ["*.example.com"],
        "ambient_accounts": ["acme"],
        "retry_schedule": [1, 2.5],
        "enabled": False,
        "webhook": True,
        "access_key_id": None,  # goes with a secret
    }
    if setting.path[-1] in samples:
        return samples[setting.path[-1]]
    return 7 if setting.default is None else setting.default + 1


def test_every_setting_but_secrets_can_be_given_and_arrives(tmp_path: Path) -> None:
    config: dict[str, Any] = {}
    given = {s.path: sample(s) for s in list_settings() if given_in_the_file(s) and sample(s) is not None}
    for path, value in given.items():
        place = config
        for part in path[:-1]:
            place = place.setdefault("txt2img" if part == NAME else part, {})
        place[path[-1]] = value
    # These can't be any number.
    config["outputs"] |= {"check_seconds": 11}
    config["retention"] |= {"jobs_seconds": 100_000_000}
    loaded = load(toml(render({"config": config})), tmp_path).model_dump(mode="json")
    for path in given:
        found, wanted = loaded, config
        for part in path:
            found, wanted = (tree["txt2img" if part == NAME else part] for tree in (found, wanted))
        assert found == wanted, path
    assert len(given) > 70


def test_what_is_kept_for_ever_can_be_said(tmp_path: Path) -> None:
    names = {s.path[1] for s in list_settings() if s.path[0] == "retention" and "one: " in s.description}
    assert len(names) == 5
    loaded = load(toml(render({"config": {"retention": dict.fromkeys(names, "none")}})), tmp_path)
    assert all(getattr(loaded.retention, name) is None for name in names)
    with pytest.raises(helm.HelmError, match="jobs_seconds"):
        render({"config": {"retention": {"jobs_seconds": None}}})


@pytest.mark.parametrize(
    "config",
    [
        {"host": "127.0.0.1"},
        {"port": 9000},
        {"data_dir": "/data"},
        {"secret_key": "a secret key of 32 characters or more"},
        {"database_url": "postgresql://db/genrelay"},
        {"providers": {"novita": {"api_key": "a key"}}},
        {"spool": {"secret_access_key": "a key"}},
        {"log_levle": "debug"},
        {"engine": {"drain": 3}},
        {"engine": {"concurrency": 0}},
        {"outputs": {"max_pixels": "many"}},
        {"providers": {"nobody": {}}},
        {"providers": {"novita": {"operations": {"txt2img": {"path ": "/"}}}}},
    ],
)
def test_what_has_no_place_in_the_file_is_refused(config: Values) -> None:
    with pytest.raises(helm.HelmError, match="at '/config"):
        render({"config": config})


def test_the_values_schema_is_fresh() -> None:
    written = (CHART / "values.schema.json").read_text(encoding="utf-8")
    assert written == render_schema(), "run: python -m tests.helm.schema > helm/genrelay/values.schema.json"


def test_the_schema_has_every_setting_but_secrets() -> None:
    found = set(_paths(config_schema(), ()))
    assert found == {setting.path for setting in list_settings() if given_in_the_file(setting)}


def _paths(schema: dict[str, Any], path: tuple[str, ...]) -> list[tuple[str, ...]]:
    if schema.get("type") != "object":
        return [path]
    below = dict(schema.get("properties", {}))
    if isinstance(schema["additionalProperties"], dict):
        below[NAME] = schema["additionalProperties"]
    return [found for name, part in below.items() for found in _paths(part, (*path, name))]


@pytest.mark.parametrize("name", SETS)
def test_every_variable_in_a_pod_is_a_known_setting(name: str) -> None:
    for where, pod in pods(render(value_sets()[name])).items():
        for container in [*pod.get("initContainers", []), *pod["containers"]]:
            names = [variable["name"] for variable in container.get("env", [])]
            assert len(set(names)) == len(names), "server-side apply takes each name once"
            assert unknown_variables(dict.fromkeys(names, "x")) == [], where
    keys = one(render(value_sets()["embedded"]), "Secret")["stringData"]
    assert unknown_variables(keys) == []


def test_pods_listen_where_they_are_asked_and_the_file_can_not_change_it(tmp_path: Path) -> None:
    manifests = render({"containerPort": 9000, "config": {"log_format": "console"}})
    [container] = pods(manifests)["Deployment/relay-genrelay-api"]["containers"]
    told = environment(container)
    loaded = load(toml(manifests), tmp_path, **{k: v for k, v in told.items() if k != "GENRELAY_CONFIG"})
    assert (loaded.host, loaded.port, loaded.log_format) == ("0.0.0.0", 9000, "console")
    assert container["ports"] == [{"name": "http", "containerPort": 9000}]
    mount = container["volumeMounts"][0]
    assert told["GENRELAY_CONFIG"] == f"{mount['mountPath']}/genrelay.toml"


def test_what_an_operator_sets_wins_over_development_and_keeps_the_rest(tmp_path: Path) -> None:
    values = {"development": {"enabled": True}, "config": {"providers": {"novita": {"submit_timeout_seconds": 9}}}}
    loaded = load(toml(render(values)), tmp_path)
    assert loaded.providers.novita.submit_timeout_seconds == 9
    assert loaded.providers.novita.base_url == "http://relay-genrelay-sandbox.images.svc:8090"
    assert json.loads(json.dumps(loaded.providers.novita.output_hosts)) == ["relay-genrelay-sandbox.images.svc"]
