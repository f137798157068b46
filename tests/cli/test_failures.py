"""What goes wrong is told in a line or two, with an exit status that says what kind of trouble it is."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from service.db.embedded import EmbeddedServer
from service.sandbox import SandboxSettings, sandbox_app
from tests.cli.command import GENRELAY, CommandLine, clean_environment, run, start
from tests.serving import serving
from tests.world import SECRET_KEY, World, free_port


async def test_a_service_that_is_not_there_is_one_clear_message() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    environment = clean_environment(GENRELAY_URL=url, GENRELAY_API_KEY="some-key-of-some-account")
    human, machine = await asyncio.gather(
        run("jobs", "list", environment=environment), run("jobs", "list", "--json", environment=environment)
    )
    assert human.status == machine.status == 1
    assert human.out == ""
    assert human.err.splitlines()[0].startswith(f"genrelay: the service at {url} can't be reached")
    assert machine.json["error"]["title"] == f"the service at {url} can't be reached"


async def test_something_else_than_a_genrelay_is_named_as_such() -> None:
    async with serving(sandbox_app(SandboxSettings())) as url:
        environment = clean_environment(GENRELAY_URL=url, GENRELAY_API_KEY="some-key-of-some-account")
        ran = await run("jobs", "list", environment=environment)
    assert ran.status == 1
    assert "is it a genrelay?" in ran.err


async def test_a_wrong_key_and_a_strangers_job_are_told_apart(genrelay: CommandLine, world: World) -> None:
    job = await world.submit()
    stranger = CommandLine(world, "a-key-that-nobody-made")
    wrong, missing = await asyncio.gather(
        stranger("jobs", "get", job["id"]), genrelay("jobs", "get", "job_01m7ynyf5se4v88nwvgtjj9csk")
    )
    assert wrong.status == missing.status == 1
    assert "the API key is unknown or revoked" in wrong.err
    assert "GENRELAY_API_KEY" in wrong.err
    assert "a-key-that-nobody-made" not in wrong.err
    assert missing.err == "genrelay: There is no such thing: there is no such job\n"


@pytest.mark.parametrize(
    ("arguments", "variables", "said"),
    [
        (("jobs", "list"), {}, "GENRELAY_API_KEY is not set"),
        (("jobs", "list"), {"GENRELAY_API_KEY_FILE": "/nowhere"}, "GENRELAY_API_KEY_FILE can't be read"),
        (("jobs", "list"), {"GENRELAY_API_KEY": "k", "GENRELAY_URL": "ftp://x"}, "GENRELAY_URL must be"),
        (("jobs", "list"), {"GENRELAY_API_KEY": "k", "GENRELAY_URL": "http://a..b"}, "GENRELAY_URL names no host"),
        (("jobs", "submit", "--file", "/nowhere"), {}, "/nowhere can't be read: No such file or directory"),
        (("jobs", "submit", "--file", "-"), {}, "standard input is not JSON: line 1, column 1"),
        (("jobs", "submit", "--file", "-", "--provider", "novita"), {}, "--provider and --operation go together"),
        (("jobs", "list", "--limit", "1000"), {}, "Invalid value for '--limit'"),
        (("jobs", "list"), {"GENRELAY_API_KEY_FILE": "/dev/zero"}, "GENRELAY_API_KEY must be visible ASCII"),
        (
            ("destinations", "put", "a", "--access-key-id", "b", "--secret-access-key-file", "/dev/zero"),
            {},
            "/dev/zero is too large",
        ),
        (("jobs", "submit", "/dev/zero"), {}, "/dev/zero is too large: at most 64 MiB are read"),
        (("jobs", "get", ""), {"GENRELAY_API_KEY": "k"}, "which of the jobs? The name is empty"),
    ],
)
async def test_wrong_usage_and_unusable_settings_are_exit_status_2(
    arguments: tuple[str, ...], variables: dict[str, str], said: str
) -> None:
    ran = await run(*arguments, environment=clean_environment(**variables))
    assert ran.status == 2
    assert ran.out == ""
    assert said in ran.err


async def test_serve_tells_every_mistake_in_the_settings_at_once() -> None:
    ran = await run("serve", environment=clean_environment(GENRELAY_PORT="x", GENRELAY_LOG_LEVEL="blue"))
    assert ran.status == 2
    first, *mistakes = ran.err.splitlines()
    assert first == "genrelay: the settings can't be used"
    assert [mistake.split(":")[0] for mistake in mistakes] == ["  - GENRELAY_PORT", "  - GENRELAY_LOG_LEVEL"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            '{"input": {"seed": ' + "1" * 5000 + "}}",
            "standard input can't be used: it holds a number of more than 4300",
        ),
        ('{"a": NaN}', "standard input can't be used: it holds a number that is none"),
        ('{"a": 1e999}', "too large for a float"),
        ('{"a": "\\ud800"}', "it holds half a character"),
        ('{"a": ' + "[" * 5000 + "]" * 5000 + "}", "standard input is not JSON: RecursionError"),
        ("curl https://x.example -d @/dev/zero", "/dev/zero is too large"),
        ("curl https://x.example -d @a\0b", "can't be read: no file can have this name"),
    ],
)
async def test_what_cannot_be_read_whole_is_wrong_usage(given: str, said: str) -> None:
    ran = await run("jobs", "submit", "-", environment=clean_environment(GENRELAY_API_KEY="k"), given=given)
    assert (ran.status, ran.out) == (2, "")
    assert said in ran.err


async def test_an_id_stays_one_part_of_the_path_whatever_is_in_it() -> None:
    asked: list[bytes] = []

    async def take(scope: Any, _receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            asked.append(scope["raw_path"])
            await send({"type": "http.response.start", "status": 404, "headers": []})
            await send({"type": "http.response.body", "body": b'{"title": "nothing"}'})

    async with serving(take) as url:
        environment = clean_environment(GENRELAY_URL=url, GENRELAY_API_KEY="k")
        for command in (
            ("jobs", "get"),
            ("jobs", "cancel"),
            ("jobs", "retry"),
            ("jobs", "watch"),
            ("destinations", "delete"),
        ):
            ran = await run(*command, "../../metrics?a#b", environment=environment)
            assert "nothing" in ran.err
    assert len(asked) == 5
    for path in asked:
        assert path.split(b"/")[3] == b"%2E%2E%2F%2E%2E%2Fmetrics%3Fa%23b"


MISTAKES = [
    ({"GENRELAY_PROVIDERS__NOVITA__OPERATIONS__TXT2IM__ENABLED": "false"}, "PROVIDERS__NOVITA__OPERATIONS: "),
    ({"GENRELAY_PROVIDERS__NOVITA__OPERATIONS__NEWOP__WEBHOOK": "true"}, "PROVIDERS__NOVITA__OPERATIONS: "),
    (
        {"GENRELAY_PROVIDERS__NOVITA__OPERATIONS__SEEDREAM5__PATH": "/v3/seedream-4.5"},
        "__SEEDREAM5__PATH must be /v3/async",
    ),
    ({}, "secret_key: holds fewer than 32 characters"),
]


@pytest.mark.parametrize("command", [("serve",), ("migrate",), ("keys", "list"), ("dead", "list")])
@pytest.mark.parametrize(("variables", "said"), MISTAKES)
async def test_settings_that_only_the_service_can_judge_are_judged_before_a_database_is_started(
    command: tuple[str, ...], variables: dict[str, str], said: str, tmp_path: Path
) -> None:
    if not variables:
        (tmp_path / "secret_key").write_text("too short")
    ran = await run(*command, environment=clean_environment(GENRELAY_DATA_DIR=str(tmp_path), **variables))
    first, *mistakes = ran.err.splitlines()
    assert (ran.status, ran.out, first) == (2, "", "genrelay: the settings can't be used")
    assert len(mistakes) == 1
    assert said in mistakes[0]
    assert set(os.listdir(tmp_path)) <= {"secret_key"}  # noqa: PTH208


@pytest.mark.parametrize("bytes_of_the_key", [None, b"\xff" * 40])
async def test_a_secret_key_that_cannot_be_read_is_one_line(tmp_path: Path, bytes_of_the_key: bytes | None) -> None:
    path = tmp_path / "secret_key"
    path.mkdir() if bytes_of_the_key is None else path.write_bytes(bytes_of_the_key)
    ran = await run("serve", environment=clean_environment(GENRELAY_DATA_DIR=str(tmp_path)))
    assert (ran.status, len(ran.err.splitlines())) == (2, 1)
    assert str(tmp_path) in ran.err


@pytest.mark.parametrize("command", [("serve",), ("migrate",), ("keys", "list")])
async def test_a_database_that_is_away_is_exit_status_4_and_its_password_is_not_printed(
    command: tuple[str, ...],
) -> None:
    url = f"postgresql://somebody:a-password@127.0.0.1:{free_port()}/nowhere"
    environment = clean_environment(GENRELAY_DATABASE_URL=url, GENRELAY_SECRET_KEY=SECRET_KEY)
    ran = await run(*command, environment=environment)
    assert ran.status == 4
    assert "genrelay: the database can't be reached" in ran.err
    assert len(ran.err.splitlines()) == 1
    assert "a-password" not in ran.err


async def test_a_database_of_ones_own_is_migrated_by_migrate_and_by_nothing_else(postgres: EmbeddedServer) -> None:
    connection = await asyncpg.connect(postgres.dsn)
    await connection.execute("CREATE DATABASE bare")
    url = postgres.dsn.replace("/postgres?", "/bare?")
    environment = clean_environment(GENRELAY_DATABASE_URL=url, GENRELAY_SECRET_KEY=SECRET_KEY)
    try:
        for command in (("serve",), ("keys", "create")):
            pending = await run(*command, environment=environment)
            assert pending.status == 3
            assert "genrelay migrate" in pending.err
        migrated = await run("migrate", "--json", environment=environment)
        assert "0001_foundation" in migrated.json["applied"]
        again = await run("migrate", environment=environment)
        assert (again.status, again.out) == (0, "the database has the newest schema already\n")
        assert (await run("keys", "create", environment=environment)).status == 0
    finally:
        await connection.execute("DROP DATABASE bare WITH (FORCE)")
        await connection.close()


@pytest.mark.parametrize("form", [(), ("--json",)])
async def test_nobody_reading_the_output_is_no_traceback(
    genrelay: CommandLine, world: World, tmp_path: Path, form: tuple[str, ...]
) -> None:
    await world.submit()
    reader, writer = os.pipe()
    os.close(reader)
    errors = tmp_path / "errors"
    with errors.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            str(GENRELAY), "jobs", "list", *form, env=genrelay.environment, stdout=writer, stderr=stderr
        )
        os.close(writer)
        status = await asyncio.wait_for(process.wait(), 20)
    assert (status, errors.read_text()) == (1, "genrelay: nobody reads the output any more\n")


async def test_ctrl_c_ends_a_watch_with_130_and_one_line(genrelay: CommandLine, world: World) -> None:
    job = await world.submit("a lighthouse [fault:stuck]")
    process = await start("jobs", "watch", job["id"], "--json", environment=genrelay.environment)
    assert process.stdout is not None
    await process.stdout.readline()
    process.send_signal(signal.SIGINT)
    async with asyncio.timeout(20):
        _, errors = await process.communicate()
    assert (process.returncode, errors.decode()) == (130, "genrelay: interrupted\n")


async def test_a_taken_port_is_exit_status_1_and_says_so() -> None:
    async with serving(sandbox_app(SandboxSettings())) as url:
        ran = await run("sandbox", "--port", url.rpartition(":")[2], environment=clean_environment())
    assert ran.status == 1
    assert "can't be listened on" in ran.err
