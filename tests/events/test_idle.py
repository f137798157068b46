"""What an idle service asks of its database, counted in PostgreSQL's own log."""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from datetime import datetime
from pathlib import Path

import asyncpg

from tests.processes import Process, serve
from tests.receiver import Receiver
from tests.serving import serving_sandbox
from tests.world import client_for, environment, free_port, job_body, until

MOST_A_SECOND = 2.0
# The window goes from one heartbeat to another, both of the service's own: a slow machine makes it longer.
HEARTBEAT, HEARTBEATS = "INSERT INTO workers", 14

_LINE = re.compile(r"^(\S+ \S+) \S+ \[\d+\] LOG:  (?:execute [^:]*|statement): (.*)$", re.MULTILINE)
TEST = {"enabled": True, "return_task_status": "TASK_STATUS_SUCCEED"}


class StatementLog:
    """The statements that a database was sent from now on."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._begin = file.stat().st_size

    def read(self) -> list[tuple[datetime, str]]:
        """Return when each came, and its first line."""
        with self._file.open("rb") as log:
            log.seek(self._begin)
            text = log.read().decode(errors="replace")
        return [(datetime.fromisoformat(at), statement) for at, statement in _LINE.findall(text)]


async def begin_to_log(database_url: str) -> StatementLog:
    """Let the sessions that begin from now on have every statement logged."""
    connection = await asyncpg.connect(database_url)
    try:
        name = await connection.fetchval("SELECT current_database()")
        await connection.execute(f"ALTER DATABASE {name} SET log_statement = 'all'")
        return StatementLog(Path(await connection.fetchval("SHOW data_directory")) / "log")
    finally:
        await connection.close()


async def window(log: StatementLog) -> list[tuple[datetime, str]]:
    """Return the statements between some heartbeats, once they have come; what a start needs is over by the third."""

    async def beats() -> list[datetime]:
        found = [at for at, statement in log.read() if statement.startswith(HEARTBEAT)]
        return found[2:] if len(found) > HEARTBEATS + 2 else []

    first, *_, last = await until(beats, 240)
    return [(at, statement) for at, statement in log.read() if first <= at <= last]


async def have_work_behind_it(process: Process, receiver: Receiver) -> None:
    """Let a job end and be delivered: afterwards there is a subscription, and nothing to do for it."""
    async with client_for(process.url) as client:
        given = {"url": receiver.url + "/hooks", "include_test": True}
        assert (await client.post("/v1/subscriptions", json=given)).status_code == 201
        answer = await client.post("/v1/jobs", json=job_body(test_mode=TEST, destination=None))
        assert answer.status_code == 202, answer.text
    await receiver.until(where=lambda came: came.event["type"] == "job.succeeded")


async def test_an_idle_service_sends_its_database_two_statements_a_second_at_most(
    database_url: str, receiver: Receiver, tmp_path: Path
) -> None:
    log = await begin_to_log(database_url)
    async with contextlib.AsyncExitStack() as stack:
        sandbox = await stack.enter_async_context(serving_sandbox())
        given = environment(port=free_port(), sandbox_url=sandbox.url, database_url=database_url)
        process = await stack.enter_async_context(serve(given, tmp_path / "log"))
        await have_work_behind_it(process, receiver)
        found = await window(log)
    seconds = (found[-1][0] - found[0][0]).total_seconds()
    counts = Counter(statement for _, statement in found)
    listed = "\n".join(f"{count} {statement}" for statement, count in counts.most_common())
    assert len(found) <= MOST_A_SECOND * seconds, f"{len(found)} in {seconds:.0f} s:\n{listed}"
