"""The settings: mistakes, names that nobody reads, and what contradicts."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.doctor import examine
from tests.doctor.looking import look, settings, told

URL = "postgresql://nobody@127.0.0.1:9/none"


async def test_every_mistake_is_told_at_once_and_what_needs_settings_is_skipped() -> None:
    environ = settings(URL, GENRELAY_PORT="many", GENRELAY_PUBLIC_URL="ftp://somewhere", GENRELAY_SECRET_KEY="short")
    findings = await examine(environ)
    mistakes = [finding.found for finding in findings if finding.check == "settings.mistake"]
    assert [mistake.partition(":")[0] for mistake in sorted(mistakes)] == [
        "GENRELAY_PORT",
        "GENRELAY_PUBLIC_URL",
        "GENRELAY_SECRET_KEY",
    ]
    others = {f.check: f for f in findings if f.check in {"database", "queue", "buckets", "providers", "public_url"}}
    assert len(others) == 5
    assert {f.status for f in others.values()} == {"skipped"}
    assert {f.found for f in others.values()} == {"not looked at: the settings can't be used"}


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("GENRELAY_PROVIDER__NOVITA__API_KEY", "GENRELAY_PROVIDERS__NOVITA__API_KEY"),
        ("GENRELAY_PUBLIC_ULR", "GENRELAY_PUBLIC_URL"),
        (
            "GENRELAY_PROVIDERS__NOVITA__OPERATIONS__TXT2IMG__ENABLE",
            "GENRELAY_PROVIDERS__NOVITA__OPERATIONS__TXT2IMG__ENABLED",
        ),
    ],
)
async def test_a_misspelt_variable_is_told_with_the_nearest_one(given: str, meant: str) -> None:
    found = told(await look(settings(URL, **{given: "true"}), "settings"), "settings.unknown")
    assert (found.status, found.found) == ("warning", f"nothing reads {given}")
    assert f"Did you mean {meant}?" in str(found.hint)


async def test_a_variable_like_no_other_gets_no_guess() -> None:
    found = told(await look(settings(URL, GENRELAY_WARP_DRIVE="9"), "settings"), "settings.unknown")
    assert "Did you mean" not in str(found.hint)


NOVITA = {"GENRELAY_PROVIDERS__NOVITA__API_KEY": "a-key-of-novita"}


@pytest.mark.parametrize(
    ("given", "status", "words"),
    [
        ({**NOVITA, "GENRELAY_PUBLIC_URL": "http://localhost:8080"}, "failed", "which novita can't reach"),
        ({**NOVITA, "GENRELAY_PUBLIC_URL": "https://10.0.0.7"}, "failed", "which novita can't reach"),
        ({"GENRELAY_PUBLIC_URL": "http://relay.example.com"}, "warning", "plain http"),
        ({**NOVITA, "GENRELAY_ENGINE__DRAIN_SECONDS": "60"}, "warning", "a call to novita may take 300 s"),
        ({"GENRELAY_OUTPUTS__MEMORY_BYTES": "2000000"}, "warning", "one file may take 24 MiB"),
        (
            {"GENRELAY_RETENTION__JOBS_SECONDS": "86400", "GENRELAY_RETENTION__EVENTS_SECONDS": "9e6"},
            "warning",
            "retention.events_seconds (104 days) is longer than retention.jobs_seconds",
        ),
        ({"GENRELAY_ENGINE__SWEEP_SECONDS": "12"}, "warning", "for more than two heartbeats"),
        ({"GENRELAY_DELIVERY__WARN_AFTER_SECONDS": "9e6"}, "warning", "more than delivery.disable_after_seconds"),
        ({"GENRELAY_EVENTS__STREAMS": "10"}, "warning", "events.streams_per_account (12000) is more than"),
        ({"GENRELAY_ALLOWED_PRIVATE_SUBNETS": "169.254.0.0/16"}, "warning", "the cloud's metadata"),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "failed", "nobody outside of the pod"),
        ({"GENRELAY_SPOOL__BUCKET": "a-spool", "GENRELAY_SPOOL__KEEP_SECONDS": "60"}, "warning", "spool keeps"),
    ],
)
async def test_what_contradicts_is_told(given: dict[str, str], status: str, words: str) -> None:
    findings = await look(settings(URL, **given), "settings")
    odd = [finding for finding in findings if finding.check == "settings.contradiction" and words in finding.found]
    assert [finding.status for finding in odd] == [status], findings


async def test_the_defaults_contradict_nothing() -> None:
    given = settings(URL, **NOVITA, GENRELAY_PUBLIC_URL="https://relay.example.com")
    assert told(await look(given, "settings"), "settings.contradiction").status == "ok"


async def test_a_local_url_is_fine_for_a_sandbox() -> None:
    given = settings(
        URL,
        **NOVITA,
        GENRELAY_PUBLIC_URL="http://127.0.0.1:1",
        GENRELAY_PROVIDERS__NOVITA__BASE_URL="http://127.0.0.1:2",
    )
    assert told(await look(given, "settings"), "settings.contradiction").status == "ok"


async def test_a_secret_in_a_file_that_everybody_reads_is_told(tmp_path: Path) -> None:
    secret = tmp_path / "key"
    secret.write_text("x" * 40)
    secret.chmod(0o644)
    given = settings(URL, GENRELAY_PROVIDERS__NOVITA__API_KEY_FILE=str(secret))
    found = told(await look(given, "settings"), "settings.file")
    assert (found.status, found.hint) == ("warning", f"chmod 600 {secret}")
    secret.chmod(0o600)
    assert not [f for f in await look(given, "settings") if f.check == "settings.file"]


async def test_nothing_is_made_in_a_data_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    findings = await examine({"GENRELAY_DATA_DIR": str(folder)}, only=("secret_key", "database", "queue"))
    assert not folder.exists()
    assert {finding.status for finding in findings} == {"skipped"}
    assert "`genrelay serve` makes it" in findings[-1].found


@pytest.mark.parametrize("text", ["too short", ""])
async def test_a_damaged_key_in_the_data_folder_is_a_failure(tmp_path: Path, text: str) -> None:
    (tmp_path / "secret_key").write_text(text)
    found = told(await look({"GENRELAY_DATA_DIR": str(tmp_path)}, "secret_key"), "secret_key.given")
    assert found.status == "failed"
