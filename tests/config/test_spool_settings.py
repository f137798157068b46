"""The operator's spool: a bucket, how to reach it, and nothing that would only show when it is needed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from config.loading import SettingsError, load_settings
from config.reference import list_settings

SPOOL = "GENRELAY_SPOOL__"
SECRET = "a-secret-that-is-shown-nowhere"


def _mistake(**environ: str) -> str:
    with pytest.raises(SettingsError) as raised:
        load_settings({SPOOL + name: value for name, value in environ.items()})
    assert SECRET not in str(raised.value)
    return str(raised.value)


def test_there_is_no_spool_unless_a_bucket_is_named() -> None:
    spool = load_settings({}).spool
    assert (spool.bucket, spool.access_key_id, spool.keep_seconds) == (None, None, 7 * 86_400)


def test_a_spool_may_use_the_services_own_credentials_or_a_key() -> None:
    own = load_settings({SPOOL + "BUCKET": "relay-spool"}).spool
    assert (own.bucket, own.access_key_id, own.secret_access_key) == ("relay-spool", None, None)
    key = {SPOOL + "BUCKET": "relay-spool", SPOOL + "ACCESS_KEY_ID": "id", SPOOL + "SECRET_ACCESS_KEY": SECRET}
    settings = load_settings(key)
    assert settings.spool.secret_access_key is not None
    assert settings.spool.secret_access_key.get_secret_value() == SECRET
    assert SECRET not in repr(settings)


@pytest.mark.parametrize("half", [{"ACCESS_KEY_ID": "id"}, {"SECRET_ACCESS_KEY": SECRET}])
def test_half_an_access_key_is_a_mistake(half: dict[str, str]) -> None:
    told = _mistake(BUCKET="relay-spool", **half)
    assert told == f"{SPOOL}SECRET_ACCESS_KEY: goes together with the access key id: give both, or neither"


@pytest.mark.parametrize(
    ("given", "prefix"),
    [("", ""), ("/", ""), ("/waiting//for/customers/", "waiting/for/customers"), ("a" * 512, "a" * 512)],
)
def test_the_prefix_has_no_slash_around_it_and_no_empty_segment(given: str, prefix: str) -> None:
    assert load_settings({SPOOL + "BUCKET": "relay-spool", SPOOL + "PATH": given}).spool.path == prefix


@pytest.mark.parametrize("path", ["a b", "../up", "a/./b", "ünder", "a?b", "a%2fb", "a\nb", "a" * 513])
def test_a_prefix_of_unsafe_characters_is_a_mistake(path: str) -> None:
    assert _mistake(BUCKET="relay-spool", PATH=path).startswith(f"{SPOOL}PATH: must")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BUCKET", "Relay_Spool"),
        ("BUCKET", "s3://relay-spool"),
        ("REGION", "EU West"),
        ("ENDPOINT_URL", "minio:9000"),
        ("ENDPOINT_URL", f"https://id:{SECRET}@minio.example"),
        ("KEEP_SECONDS", "0"),
        ("KEEP_SECONDS", "inf"),
    ],
)
def test_what_could_not_work_is_told_by_its_variable(name: str, value: str) -> None:
    assert _mistake(**{name: value}).startswith(f"{SPOOL}{name}: ")


def test_an_endpoint_may_be_on_the_operators_own_network_over_plain_http() -> None:
    settings = load_settings({SPOOL + "ENDPOINT_URL": "http://minio.storage.svc:9000/"})
    assert settings.spool.endpoint_url == "http://minio.storage.svc:9000"


def test_the_operators_page_names_every_setting_and_no_other() -> None:
    page = (Path(__file__).parents[2] / "docs" / "spool.md").read_text(encoding="utf-8")
    known = {setting.variable for setting in list_settings() if setting.variable.startswith(SPOOL)}
    assert set(re.findall(rf"{SPOOL}[A-Z_]+", page)) == known
    assert f"`{load_settings({}).spool.keep_seconds:.0f}`" in page
