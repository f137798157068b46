"""`genrelay doctor`, as an operator runs it beside a service."""

from __future__ import annotations

import asyncio
import json

import pytest

from service.doctor import CHECKS
from tests.cli.command import CommandLine, clean_environment, run
from tests.listening import listening
from tests.world import free_port


async def test_a_running_service_is_well(genrelay: CommandLine) -> None:
    ran = await genrelay.operate("doctor")
    assert (ran.status, ran.err) == (0, "")
    lines = ran.out.splitlines()
    assert lines[0].startswith("ok       settings ")
    assert any(line.split()[:2] == ["ok", "queue.workers"] for line in lines)
    assert " failed" not in lines[-1]


async def test_json_has_every_check(genrelay: CommandLine) -> None:
    ran = await genrelay.operate("doctor", "--json")
    assert (ran.status, ran.err) == (0, "")
    assert ran.json["ok"] is True
    assert {check["check"].partition(".")[0] for check in ran.json["checks"]} == set(CHECKS)
    assert all(set(check) == {"check", "status", "found", "hint"} for check in ran.json["checks"])
    # Seen from a process of its own: its answers carry a date.
    assert {c["status"] for c in ran.json["checks"] if c["check"].startswith("clock.")} <= {"ok", "skipped"}


async def test_only_what_is_asked_for_is_shown(genrelay: CommandLine) -> None:
    ran = await genrelay.operate("doctor", "--only", "queue,migrations", "--json")
    assert {check["check"].partition(".")[0] for check in ran.json["checks"]} == {"queue", "migrations"}


@pytest.mark.parametrize("only", ["weather", "database,weather", ","])
async def test_a_check_that_does_not_exist_is_a_usage_mistake(only: str) -> None:
    ran = await run("doctor", "--only", only, environment=clean_environment())
    assert ran.status == 2
    assert "The checks are settings, secret_key, database" in ran.err


async def test_what_does_not_work_is_exit_status_1_and_says_what_to_do() -> None:
    given = clean_environment(
        GENRELAY_DATABASE_URL=f"postgresql://me:hunter2@127.0.0.1:{free_port()}/none",
        GENRELAY_SECRET_KEY="a secret key for tests - 32 characters or more",
        GENRELAY_PUBLIC_ULR="https://relay.example.com",
    )
    ran = await run("doctor", environment=given)
    assert (ran.status, ran.err) == (1, "")
    lines = ran.out.splitlines()
    place = next(n for n, line in enumerate(lines) if line.startswith("failed   database.reachable"))
    assert lines[place + 1].strip().startswith("-> Is PostgreSQL running")
    assert "hunter2" not in ran.out
    assert "Did you mean GENRELAY_PUBLIC_URL?" in ran.out


async def test_settings_that_can_t_be_used_are_a_finding_like_others() -> None:
    ran = await run("doctor", "--json", environment=clean_environment(GENRELAY_PORT="many"))
    assert ran.status == 1
    assert [c["check"] for c in json.loads(ran.out)["checks"] if c["status"] == "failed"] == ["settings.mistake"]


async def test_servers_that_hang_hold_nobody_up() -> None:
    async def hang(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with listening(hang) as server:
        url = f"http://127.0.0.1:{server.port}"
        given = clean_environment(
            GENRELAY_DATABASE_URL=f"postgresql://me@127.0.0.1:{server.port}/none",
            GENRELAY_SECRET_KEY="a secret key for tests - 32 characters or more",
            GENRELAY_PUBLIC_URL=url,
            GENRELAY_PROVIDERS__NOVITA__API_KEY="a-key-of-novita",
            GENRELAY_PROVIDERS__NOVITA__BASE_URL=url,
            GENRELAY_SPOOL__BUCKET="a-spool",
            GENRELAY_SPOOL__ENDPOINT_URL=url,
            GENRELAY_SPOOL__ACCESS_KEY_ID="AKIAEXAMPLE",
            GENRELAY_SPOOL__SECRET_ACCESS_KEY="spool-secret",
        )
        # It has half a minute.
        ran = await run("doctor", environment=given)
    assert (ran.status, ran.err) == (1, "")
