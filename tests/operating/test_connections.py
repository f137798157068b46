"""How many connections a process takes, as docs/operating.md has it for who sets max_connections."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from pathlib import Path

import asyncpg
import pytest

from service.app import Role
from service.ids import new_uuid, show
from tests.operating.rules import ROOT
from tests.processes import Process, serve
from tests.serving import serving_sandbox
from tests.world import client_for, environment, free_port, job_body, until

PAGE = (ROOT / "docs/operating.md").read_text(encoding="utf-8")
TEST = {"enabled": True, "return_task_status": "TASK_STATUS_SUCCEED"}


def documented(role: Role) -> Counter[str]:
    """Return what the page says, by application name."""
    column = {"api": 1, "worker": 2, "all": 3}[role]
    rows = re.findall(r"^\| `(genrelay[ a-z]*)` \| (\d+) \| (\d+) \| (\d+) \|", PAGE, re.MULTILINE)
    assert rows
    found = Counter({row[0]: int(row[column]) for row in rows})
    return +found


async def connections(watcher: asyncpg.Connection[asyncpg.Record]) -> Counter[str]:
    """Return the connections there are, by application name, without our own."""
    # Within a transaction it would go on showing what it has shown once.
    await watcher.execute("SELECT pg_stat_clear_snapshot()")
    rows = await watcher.fetch(
        "SELECT application_name, count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        " AND application_name LIKE 'genrelay%' GROUP BY 1"
    )
    return Counter({row["application_name"]: row["count"] for row in rows})


async def ask_much(process: Process, watcher: asyncpg.Connection[asyncpg.Record], wanted: Counter[str]) -> Counter[str]:
    """Ask for more than there are connections for while nobody gets on; returns how many there are then."""
    nobodys = f"/v1/jobs/{show('job', new_uuid())}"  # lists have a limit of their own
    async with client_for(process.url) as client:
        await client.get(nobodys)  # the key is known from now on
        async with watcher.transaction():
            await watcher.execute("LOCK TABLE jobs")
            asking = [asyncio.create_task(client.get(nobodys)) for _ in range(3 * wanted["genrelay"])]

            async def full() -> bool:
                return (await connections(watcher))["genrelay"] >= wanted["genrelay"]

            await until(full)
        answers = await asyncio.gather(*asking)
    # What was opened stays open for minutes.
    found = await connections(watcher)
    assert {answer.status_code for answer in answers} == {404}
    return found


@pytest.mark.parametrize("role", ["api", "all"])
async def test_a_process_that_is_asked_much_takes_the_documented_connections(
    role: Role, database_url: str, tmp_path: Path
) -> None:
    watcher = await asyncpg.connect(database_url)
    given = environment(port=free_port(), sandbox_url="http://127.0.0.1:9", database_url=database_url)
    try:
        async with serve(given, tmp_path / "log", role) as process:
            found = await ask_much(process, watcher, documented(role))
    finally:
        await watcher.close()
    # The second connection of callbacks is opened only when one of them is held up.
    assert documented(role) - found <= Counter({"genrelay inbox": 1})
    assert not found - documented(role)


async def test_a_worker_takes_no_more_than_the_documented_connections(database_url: str, tmp_path: Path) -> None:
    watcher = await asyncpg.connect(database_url)
    try:
        async with serving_sandbox() as fake:
            given = environment(port=free_port(), sandbox_url=fake.url, database_url=database_url)
            worker = given | {"GENRELAY_PORT": str(free_port())}
            async with serve(given, tmp_path / "api", "api") as api:
                of_api = await connections(watcher)
                async with serve(worker, tmp_path / "worker", "worker"), client_for(api.url) as client:
                    body = job_body(destination=None, test_mode=TEST)
                    answers = await asyncio.gather(*(client.post("/v1/jobs", json=body) for _ in range(30)))
                    assert {answer.status_code for answer in answers} == {202}
                    await asyncio.gather(*(client.get(f"/v1/jobs/{a.json()['id']}?wait=30") for a in answers))
                    found = await connections(watcher) - of_api
    finally:
        await watcher.close()
    assert found["genrelay queue"] == 2
    assert not found - documented("worker") - (documented("api") - of_api)
