"""Settings: every variable of the contract, all mistakes at once, and no secret in what is said about them."""

from __future__ import annotations

import subprocess
import sys
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from config.loading import SettingsError, load_settings, unknown_variables
from config.reference import list_settings, show_default
from config.settings import Settings
from service.configured import configured_providers
from service.engine.limits import limits_of

KEY = "a text of thirty-two characters or more"
CONTRACT = {
    "GENRELAY_DATABASE_URL": "",
    "GENRELAY_DATA_DIR": ".genrelay",
    "GENRELAY_HOST": "127.0.0.1",
    "GENRELAY_PORT": "8080",
    "GENRELAY_PUBLIC_URL": "",
    "GENRELAY_SECRET_KEY": "",
    "GENRELAY_BOOTSTRAP_API_KEY": "",
    "GENRELAY_PROVIDERS__NOVITA__API_KEY": "",
    "GENRELAY_PROVIDERS__NOVITA__BASE_URL": "https://api.novita.ai",
    "GENRELAY_PROVIDERS__MODELSLAB__API_KEY": "",
    "GENRELAY_PROVIDERS__MODELSLAB__BASE_URL": "https://modelslab.com",
    "GENRELAY_PROVIDERS__MODELSLAB__OUTPUT_HOSTS": "*",
    "GENRELAY_SUBMIT__UNKNOWN_SECONDS": "600",
    "GENRELAY_ALLOWED_PRIVATE_SUBNETS": "",
    "GENRELAY_RECONCILE__FIRST_SECONDS": "30",
    "GENRELAY_RECONCILE__MAX_SECONDS": "300",
}


def _mistakes(**environ: str) -> dict[str, str]:
    with pytest.raises(SettingsError) as raised:
        load_settings(environ)
    return dict(line.split(": ", 1) for line in str(raised.value).splitlines())


def test_every_variable_of_the_contract_has_its_default() -> None:
    defaults = {setting.variable: show_default(setting.default) for setting in list_settings()}
    assert {name: defaults.get(name) for name in CONTRACT} == CONTRACT
    assert load_settings({}) == Settings()
    settings = Settings()
    assert sum(settings.delivery.retry_schedule) >= 72 * 3600
    assert all("*" not in host for host in settings.providers.novita.output_hosts)


def test_every_setting_says_what_it_is_for() -> None:
    for setting in list_settings():
        assert setting.description.endswith("."), setting.variable


def test_every_variable_sets_its_setting() -> None:
    given = {
        "GENRELAY_DATABASE_URL": "postgresql://u:p@db/genrelay",
        "GENRELAY_DATA_DIR": "/var/lib/genrelay",
        "GENRELAY_HOST": "::",
        "GENRELAY_PORT": "0",
        "GENRELAY_PUBLIC_URL": "https://relay.example/",
        "GENRELAY_SECRET_KEY": f"{KEY}, {KEY} that is older",
        "GENRELAY_BOOTSTRAP_API_KEY": "k" * 20,
        "GENRELAY_PROVIDERS__NOVITA__API_KEY": "n",
        "GENRELAY_PROVIDERS__NOVITA__BASE_URL": "http://127.0.0.1:8090",
        "GENRELAY_PROVIDERS__NOVITA__OUTPUT_HOSTS": "Images.example, *.cdn.example,*",
        "GENRELAY_SUBMIT__UNKNOWN_SECONDS": "0",
        "GENRELAY_ALLOWED_PRIVATE_SUBNETS": "127.0.0.0/8, ::1/128",
        "GENRELAY_DELIVERY__RETRY_SCHEDULE": "0,1.5, 60",
        "GENRELAY_HTTP__IDEMPOTENCY_WAIT_SECONDS": "0.1",
        "GENRELAY_LOG_LEVEL": "DEBUG",
    }
    settings = load_settings(given)
    assert settings.database_url is not None
    assert settings.database_url.get_secret_value() == "postgresql://u:p@db/genrelay"
    assert (settings.data_dir, settings.host, settings.port) == (Path("/var/lib/genrelay"), "::", 0)
    assert settings.public_url == "https://relay.example"
    assert [key.get_secret_value() for key in settings.secret_key] == [KEY, f"{KEY} that is older"]
    assert settings.providers.novita.output_hosts == ["images.example", "*.cdn.example", "*"]
    assert settings.allowed_private_subnets == [ip_network("127.0.0.0/8"), ip_network("::1/128")]
    assert settings.delivery.retry_schedule == [0, 1.5, 60]
    assert (settings.submit.unknown_seconds, settings.http.idempotency_wait_seconds) == (0, 0.1)
    assert settings.log_level == "debug"
    assert unknown_variables(given) == []
    for secret in ("u:p@db", KEY, "k" * 20):
        assert secret not in repr(settings)


def test_all_mistakes_are_told_at_once_by_variable_and_without_secrets() -> None:
    secret = "short-and-secret"
    told = _mistakes(
        GENRELAY_DATABASE_URL=f"mysql://root:{secret}@db/x",
        GENRELAY_SECRET_KEY=f"{KEY},{secret}",
        GENRELAY_BOOTSTRAP_API_KEY=f"{secret} ü",
        GENRELAY_PORT="80a",
        GENRELAY_PUBLIC_URL="relay.example",
        GENRELAY_PROVIDERS__NOVITA__BASE_URL=f"https://user:{secret}@api.novita.ai",
        GENRELAY_PROVIDERS__NOVITA__OUTPUT_HOSTS="https://images.example/x",
        GENRELAY_PROVIDERS__MODELSLAB__BASE_URL="https://modelslab.com:99999",
        GENRELAY_SUBMIT__UNKNOWN_SECONDS="-1",
        GENRELAY_RECONCILE__FIRST_SECONDS="inf",
        GENRELAY_RECONCILE__MAX_SECONDS="nan",
        GENRELAY_ALLOWED_PRIVATE_SUBNETS="127.0.0.1/8",
        GENRELAY_DELIVERY__RETRY_SCHEDULE="1,-2",
        GENRELAY_HTTP__MAX_BODY_BYTES="1",
        GENRELAY_LOG_LEVEL="loud",
        GENRELAY_LOG_FORMAT="xml",
        GENRELAY_CONFIG="/nowhere/genrelay.toml",
    )
    assert set(told) == {
        "GENRELAY_DATABASE_URL", "GENRELAY_SECRET_KEY", "GENRELAY_BOOTSTRAP_API_KEY", "GENRELAY_PORT", "GENRELAY_PUBLIC_URL",
        "GENRELAY_PROVIDERS__NOVITA__BASE_URL", "GENRELAY_PROVIDERS__NOVITA__OUTPUT_HOSTS",
        "GENRELAY_PROVIDERS__MODELSLAB__BASE_URL", "GENRELAY_SUBMIT__UNKNOWN_SECONDS", "GENRELAY_RECONCILE__FIRST_SECONDS",
        "GENRELAY_RECONCILE__MAX_SECONDS", "GENRELAY_ALLOWED_PRIVATE_SUBNETS", "GENRELAY_DELIVERY__RETRY_SCHEDULE",
        "GENRELAY_HTTP__MAX_BODY_BYTES", "GENRELAY_LOG_LEVEL", "GENRELAY_LOG_FORMAT", "GENRELAY_CONFIG",
    }  # fmt: skip
    assert not [rule for rule in told.values() if secret in rule or "Value error" in rule]


@pytest.mark.parametrize(
    ("schedule", "good"),
    [
        ("0", True),
        (",".join(["1"] * 20), True),
        (",".join(["1"] * 21), False),
        (",", False),
        ("1;2", False),
        ("1e9999", False),
    ],
)
def test_a_retry_schedule_has_one_to_twenty_numbers(schedule: str, good: bool) -> None:
    if good:
        assert load_settings({"GENRELAY_DELIVERY__RETRY_SCHEDULE": schedule}).delivery.retry_schedule
    else:
        assert "GENRELAY_DELIVERY__RETRY_SCHEDULE" in _mistakes(GENRELAY_DELIVERY__RETRY_SCHEDULE=schedule)


def test_a_database_of_ones_own_needs_a_secret_key_which_is_told_beside_other_mistakes() -> None:
    told = _mistakes(GENRELAY_DATABASE_URL="postgresql://db/x", GENRELAY_PORT="-1", GENRELAY_SECRET_KEY=" , ")
    assert set(told) == {"GENRELAY_SECRET_KEY", "GENRELAY_PORT"}


@pytest.mark.parametrize("key", ["k" * 19, "k" * 201, "with a space in the middle", "with-an-ümlaut-in-the-middle"])
def test_a_bootstrap_key_is_visible_ascii_of_a_decent_length(key: str) -> None:
    assert set(_mistakes(GENRELAY_BOOTSTRAP_API_KEY=key)) == {"GENRELAY_BOOTSTRAP_API_KEY"}


def test_every_secret_can_come_from_a_file(tmp_path: Path) -> None:
    given, secret = {"GENRELAY_SPOOL__ACCESS_KEY_ID": "goes with its secret"}, "postgresql://host/" + "k" * 32
    secrets = [setting for setting in list_settings() if setting.secret]
    assert len(secrets) >= 5
    for setting in secrets:
        path = tmp_path / setting.variable
        path.write_text(f"{secret}\r\n", encoding="utf-8")
        given[f"{setting.variable}_FILE"] = str(path)
    settings = load_settings(given)
    for setting in secrets:
        value: Any = settings
        for name in setting.path:
            value = getattr(value, name)
        value = value[0] if isinstance(value, list) else value
        assert value.get_secret_value() == secret, setting.variable
    assert unknown_variables(given) == []


def test_a_secret_given_twice_or_in_a_file_that_is_not_there_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    told = _mistakes(
        GENRELAY_SECRET_KEY=KEY,
        GENRELAY_SECRET_KEY_FILE=str(tmp_path / "key"),
        GENRELAY_DATABASE_URL_FILE=str(tmp_path / "nowhere"),
        GENRELAY_BOOTSTRAP_API_KEY_FILE=str(tmp_path / "bytes"),
    )
    assert set(told) == {
        "GENRELAY_SECRET_KEY_FILE", "GENRELAY_DATABASE_URL_FILE", "GENRELAY_BOOTSTRAP_API_KEY_FILE"
    }  # fmt: skip


def test_a_toml_file_sets_what_the_environment_does_not(tmp_path: Path) -> None:
    path = tmp_path / "genrelay.toml"
    path.write_text(
        f'port = 9000\nhost = "0.0.0.0"\nsecret_key = ["{KEY}"]\nalowed = 1\n'
        '[providers.novita]\napi_key = "from-file"\noutput_hosts = ["a.example"]\n[submitt]\nunknown_seconds = 5\n',
        encoding="utf-8",
    )
    environ = {
        "GENRELAY_CONFIG": str(path),
        "GENRELAY_PORT": "9001",
        "GENRELAY_PROVIDERS__NOVITA__BASE_URL": "http://x",
    }
    settings = load_settings(environ)
    assert (settings.port, settings.host) == (9001, "0.0.0.0")
    assert settings.providers.novita.output_hosts == ["a.example"]
    assert settings.providers.novita.base_url == "http://x"
    assert settings.providers.novita.api_key is not None
    assert unknown_variables(environ) == ["GENRELAY_ALOWED", "GENRELAY_SUBMITT__UNKNOWN_SECONDS"]
    path.write_text("port = ", encoding="utf-8")
    assert set(_mistakes(GENRELAY_CONFIG=str(path))) == {"GENRELAY_CONFIG"}


DOTTED = '[providers.novita.operations."seedream-4.0"]\nconcurrency = 5\nimages_per_minute = 30\n'


@pytest.mark.parametrize("spelled", ["SEEDREAM_4_0", "seedream_4_0", "SEEDREAM-4.0"])
def test_the_environment_overrides_an_operation_of_the_file_whatever_its_signs(tmp_path: Path, spelled: str) -> None:
    path = tmp_path / "genrelay.toml"
    path.write_text(DOTTED, encoding="utf-8")
    name = f"GENRELAY_PROVIDERS__NOVITA__OPERATIONS__{spelled}__"
    settings = load_settings({"GENRELAY_CONFIG": str(path), name + "CONCURRENCY": "2", name + "ENABLED": "false"})
    operations = settings.providers.novita.operations
    assert set(operations) == {"seedream-4.0"}
    said = operations["seedream-4.0"]
    assert (said.concurrency, said.images_per_minute, said.enabled) == (2, 30, False)
    assert limits_of(settings.providers.novita, "seedream-4.0").concurrency == 2
    assert "seedream-4.0" not in configured_providers(settings)["novita"].operations


def test_an_exact_name_counts_before_one_that_is_only_like_it(tmp_path: Path) -> None:
    path = tmp_path / "genrelay.toml"
    path.write_text(DOTTED + "[providers.novita.operations.seedream_4_0]\nconcurrency = 6\n", encoding="utf-8")
    variable = "GENRELAY_PROVIDERS__NOVITA__OPERATIONS__SEEDREAM_4_0__CONCURRENCY"
    settings = load_settings({"GENRELAY_CONFIG": str(path), variable: "2"})
    said = {name: operation.concurrency for name, operation in settings.providers.novita.operations.items()}
    assert said == {"seedream-4.0": 5, "seedream_4_0": 2}
    with pytest.raises(SettingsError, match="the same operation as"):
        configured_providers(settings)


def test_only_names_of_operations_are_compared_without_their_signs(tmp_path: Path) -> None:
    path = tmp_path / "genrelay.toml"
    path.write_text("log-level = 'debug'\n[breaker]\nmax-seconds = 5\n", encoding="utf-8")
    environ = {
        "GENRELAY_CONFIG": str(path),
        "GENRELAY_LOG_LEVEL": "error",
        "GENRELAY_BREAKER__MAX_SECONDS": "7",
        "GENRELAY_PROVIDERS__NOVITA__OPERATIONS__WAN_2_5__PATH": "/v3/async/wan-2.5",
    }
    settings = load_settings(environ)
    assert (settings.log_level, settings.breaker.max_seconds) == ("error", 7)
    assert set(settings.providers.novita.operations) == {"wan_2_5"}
    assert unknown_variables(environ) == ["GENRELAY_BREAKER__MAX-SECONDS", "GENRELAY_LOG-LEVEL"]


def test_operation_that_makes_nothing_is_refused(tmp_path: Path) -> None:
    variable = "GENRELAY_PROVIDERS__NOVITA__OPERATIONS__WAN_2_5__OUTPUTS"
    assert _mistakes(**{variable: " , "})[variable].startswith("must name one of image, video and audio at least")
    path = tmp_path / "genrelay.toml"
    path.write_text("[providers.novita.operations.wan_2_5]\noutputs = []\n", encoding="utf-8")
    assert set(_mistakes(GENRELAY_CONFIG=str(path))) == {variable}
    path.write_text('[providers.novita.operations.wan_2_5]\noutputs = ["video"]\n', encoding="utf-8")
    settings = load_settings({"GENRELAY_CONFIG": str(path)})
    assert settings.providers.novita.operations["wan_2_5"].outputs == ["video"]


def test_misspelt_variables_are_found_and_the_command_lines_own_are_known() -> None:
    environ = {
        "GENRELAY_PROT": "1",
        "GENRELAY_SUBMIT__UNKNWON_SECONDS": "1",
        "GENRELAY_PORT_FILE": "x",
        "GENRELAY_URL": "http://x",
        "GENRELAY_API_KEY": "k",
        "GENRELAY_PORT": "1",
        "HOME": "/",
    }
    assert unknown_variables(environ) == ["GENRELAY_PORT_FILE", "GENRELAY_PROT", "GENRELAY_SUBMIT__UNKNWON_SECONDS"]


def test_a_name_below_a_named_section_is_one_part_of_a_variable() -> None:
    operation = "GENRELAY_PROVIDERS__NOVITA__OPERATIONS__"
    right = {operation + "TXT2IMG__ENABLED": "false", operation + "WAN_2_5__PATH": "/v3/async/wan-2.5"}
    wrong = {
        operation + "TXT2IMG__X__ENABLED": "false",
        operation + "TXT2IMG__ENABLED__X": "false",
        operation + "TXT2IMG__ENABELD": "false",
        operation + "TXT2IMG": "false",
    }
    assert unknown_variables({**right, **wrong}) == sorted(wrong)


def test_nothing_is_read_at_import() -> None:
    watch = """
import os, sys
read = []
def note(name):
    frame = sys._getframe(2)
    while frame.f_globals["__name__"] in {"os", "collections.abc", "_collections_abc", "__main__"} and frame.f_back:
        frame = frame.f_back
    if frame.f_globals["__name__"].partition(".")[0] in {"config", "service", "handlers"}:
        read.append(name)
class Watched(type(os.environ)):
    def __getitem__(self, name):
        note(name)
        return super().__getitem__(name)
    def __iter__(self):
        note("all")
        return super().__iter__()
os.environ.__class__ = Watched
import config.loading, config.logging, handlers.app, service.app, service.cli, service.serving
print(read)
config.loading.load_settings()
print("all" in read, "GENRELAY_PORT" in read)
"""
    done = subprocess.run(
        [sys.executable, "-c", watch],
        env={"GENRELAY_PORT": "8081", "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout.splitlines() == ["[]", "True True"]


@pytest.mark.parametrize(
    "principal",
    [
        "123456789012",
        "arn:aws:iam::123456789012:root",
        "arn:aws:iam::123456789012:role/genrelay",
        "arn:aws-us-gov:iam::123456789012:user/services/genrelay",
        "arn:aws:sts::123456789012:assumed-role/genrelay/session@1",
    ],
)
def test_a_principal_is_an_account_a_user_or_a_role(principal: str) -> None:
    assert load_settings({"GENRELAY_AWS_PRINCIPAL": principal}).aws_principal == principal


@pytest.mark.parametrize(
    "principal",
    [
        "*",
        "genrelay",
        "12345678901",
        "arn:aws:iam::*:root",
        "arn:aws:iam::123456789012:role/*",
        "arn:aws:iam::123456789012:role/",
        "arn:aws:iam::123456789012:role/gen relay",
        "arn:aws:iam::123456789012:role/genrelay\n",
        "arn:aws:iam::123456789012:policy/genrelay",
        "arn:aws:sts::123456789012:role/genrelay",
        "arn:aws:s3:::acme-renders",
    ],
)
def test_what_no_trust_policy_should_name_is_no_principal(principal: str) -> None:
    told = _mistakes(GENRELAY_AWS_PRINCIPAL=principal, GENRELAY_PORT="80a")
    assert set(told) == {"GENRELAY_AWS_PRINCIPAL", "GENRELAY_PORT"}
