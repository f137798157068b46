"""The command starts fast, and `sandbox` runs until it is told to stop."""

from __future__ import annotations

import asyncio
import json
import signal
import sys

import httpx
import pytest

from tests.cli.command import clean_environment, run, start

HEAVY = ("asyncpg", "aioboto3", "botocore", "httpx", "starlette", "PIL", "pgqueuer", "structlog", "cryptography")


@pytest.mark.parametrize("arguments", [(), ("jobs", "--help"), ("serve", "--help"), ("demo", "--help")])
async def test_help_imports_nothing_heavy(arguments: tuple[str, ...]) -> None:
    look = (
        "import sys, service.cli.commands\n"
        "try:\n    service.cli.commands.app(sys.argv[1:])\n"
        f"finally:\n    print('heavy:', *[m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)"
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", look, *arguments), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    assert b"Usage:" in out
    assert err.decode().splitlines()[-1] == "heavy:"


@pytest.mark.parametrize("arguments", [("jobs", "list", "--json"), ("destinations", "list")])
async def test_commands_that_only_talk_http_load_no_service(arguments: tuple[str, ...]) -> None:
    environment = clean_environment(
        PYTHONPROFILEIMPORTTIME="1", GENRELAY_API_KEY="k", GENRELAY_URL="http://127.0.0.1:9"
    )
    ran = await run(*arguments, environment=environment)
    loaded = {line.rpartition("|")[2].strip() for line in ran.err.splitlines() if line.startswith("import time:")}
    assert "httpx" in loaded
    assert not loaded & {"service.app", "asyncpg", "aioboto3", "starlette", "config.settings"}


@pytest.mark.parametrize("form", [(), ("--json",)])
async def test_the_sandbox_says_where_it_listens_and_ends_with_0_on_sigterm(form: tuple[str, ...]) -> None:
    process = await start("sandbox", "--port", "0", "--lean", "--latency", "0", *form, environment=clean_environment())
    assert process.stdout is not None
    line = (await process.stdout.readline()).decode()
    url = json.loads(line)["url"] if form else line.split()[3].rstrip(";")
    async with httpx.AsyncClient(trust_env=False) as http:
        assert "lost" in (await http.get(f"{url}/_sandbox/faults")).json()
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(20):
        out, err = await process.communicate()
    assert (process.returncode, out, err) == (0, b"", b"")
