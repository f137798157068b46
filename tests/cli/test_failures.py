"""What goes wrong is told in a line or two, with an exit status that says what kind of trouble it is."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

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
