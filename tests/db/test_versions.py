"""It works on every supported version of PostgreSQL; all other tests run on the embedded one, which is the newest."""

from __future__ import annotations

import asyncio
import logging
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from pogo_core.util.migrate import apply

from service.db.migrate import FOLDER, migrate, pending
from service.db.pool import Connection
from service.db.sql import queries
from service.demo.s3server import S3Server
from tests.chaos.listeners import Listener
from tests.database import dsn_of, folder_in_memory
from tests.db.servers import binaries, debians, packaged, running
from tests.receiver import serving_receiver
from tests.world import World, running_world, until

pytestmark = pytest.mark.xdist_group("versions of PostgreSQL")
TEST: dict[str, Any] = {
    "test_mode": {"enabled": True, "return_task_status": "TASK_STATUS_SUCCEED"},
    "destination": None,
}
SERVERS = [*packaged(), *debians()]


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest) -> Iterator[str]:
    """The DSN of a running server of one of the versions."""
    with tempfile.TemporaryDirectory(prefix="genrelay-test-", dir=folder_in_memory()) as folder:
        Path(folder).chmod(0o755)
        with running(binaries(request.param), Path(folder)) as dsn:
            yield dsn


@pytest.fixture
async def empty(server: str) -> AsyncIterator[str]:
    """The DSN of a database without a schema."""
    name = f"test_{uuid4().hex}"
    connection = await asyncpg.connect(server)
    await connection.execute(f"CREATE DATABASE {name}")
    yield dsn_of(server, name)
    await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await connection.close()


def test_all_supported_versions_are_here() -> None:
    versions = {name.split("-")[1] for name in packaged()}
    assert {"15", "16", "17"} <= versions
    assert "14" in versions or os.uname().machine != "x86_64"


async def test_an_upgrade_from_the_version_before_leaves_no_migration_out(empty: str, tmp_path: Path) -> None:
    connection = await asyncpg.connect(empty)
    for file in FOLDER.iterdir():
        if file.is_file() and file.name < "0008":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    await apply(connection, tmp_path, schema_name="public", logger=logging.getLogger("test"))
    await connection.close()
    assert await pending(empty)
    await migrate(empty)
    assert await pending(empty) == []


async def test_every_statement_is_understood(empty: str) -> None:
    await migrate(empty)
    connection = await asyncpg.connect(empty)
    known = queries()
    statements = {name: getattr(known, name).sql for name in known.available_queries if not name.endswith("_cursor")}
    assert len(statements) > 100
    refused = [error for each in statements.items() if (error := await _prepare(connection, *each))]
    await connection.close()
    assert not refused, "\n".join(refused)


async def _prepare(connection: Connection, name: str, statement: str) -> str:
    try:
        await connection.prepare(statement)
    except asyncpg.PostgresError as error:
        return f"{name}: {error}"
    return ""


async def test_jobs_go_all_their_way(empty: str, s3_server: S3Server, bucket: str) -> None:
    await migrate(empty)
    async with (
        serving_receiver() as receiver,
        running_world(
            empty, s3_server, bucket, GENRELAY_DELIVERY__RETRY_SCHEDULE="0.2,0.2", GENRELAY_ENGINE__SWEEP_SECONDS="0.5"
        ) as world,
    ):
        receiver.plan("/hooks", 503)
        given = {"url": receiver.url + "/hooks", "event_types": ["job.succeeded"], "include_test": True}
        assert (await world.client.post("/v1/subscriptions", json=given)).status_code == 201
        listener = Listener([world.url])
        listening = asyncio.create_task(listener.run())
        await listener.listening.wait()
        ended = await world.run()
        assert (ended["status"], ended["verified_by"]) == ("succeeded", "readback")
        assert [output["key"] for output in ended["outputs"]] == world.keys()
        await receiver.until(2, "/hooks")
        many = await asyncio.gather(*(world.run(**TEST) for _ in range(30)))
        assert {job["status"] for job in many} == {"succeeded"}
        await receiver.until(32, "/hooks")
        again = await _cancel_and_retry(world)
        await _lose_the_listener(world)
        listed = (await world.client.get("/v1/jobs", params={"status": "succeeded", "limit": 100})).json()["data"]
        assert {ended["id"], again["id"]} < {job["id"] for job in listed}
        assert len(listed) == 32, "without the one that was deleted"
        await until(lambda: _has(listener, world))
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


async def _cancel_and_retry(world: World) -> dict[str, Any]:
    held = await world.submit("a harbour [fault:failed=1]")
    assert (await world.end(held))["status"] == "failed"
    assert (await world.client.post(f"/v1/jobs/{held['id']}/retry", json={})).is_success
    again = await world.end(held)
    assert again["status"] == "succeeded"
    canceled = await world.submit("a lighthouse [fault:held]")
    assert (await world.client.post(f"/v1/jobs/{canceled['id']}/cancel", json={})).is_success
    assert (await world.end(canceled))["status"] == "canceled"
    return again


async def _lose_the_listener(world: World) -> None:
    """End the session that listens: a poll that waits hears of its job all the same, and the next listener listens."""
    held = await world.submit("a mountain [fault:held]", destination="acme")

    async def running_() -> dict[str, Any]:
        found = await world.job(held)
        return found if found["status"] == "running" else {}

    found = await until(running_)
    cut = await world.service.pool.fetch(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name = 'genrelay listener'"
    )
    assert len(cut) == 1
    world.sandbox.release(found["provider_task_id"])
    assert (await world.end(held))["status"] == "succeeded"
    await until(lambda: _is(world.service.listener.listening))
    deleted = await world.client.delete(f"/v1/jobs/{held['id']}")
    assert deleted.is_success, deleted.text


async def _has(listener: Listener, world: World) -> bool:
    stored = await world.service.pool.fetchval("SELECT count(*) FROM feed")
    return len(listener.heard) >= int(stored)


async def _is(so: bool) -> bool:
    return so
