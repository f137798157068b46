"""From the version before to this one and back, process by process, while clients, providers and consumers go on."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from service.db.embedded import EmbeddedServer
from service.db.migrate import migrate, names, pending
from service.demo.s3server import S3Server
from tests.chaos.audience import Audience, audience
from tests.chaos.ground import FAST, Ground, ground
from tests.cli.command import clean_environment, run
from tests.database import dsn_of
from tests.processes import Process
from tests.receiver import serving_receiver
from tests.upgrading.balancer import Balancer, balancing
from tests.upgrading.load import Load, load
from tests.upgrading.version_before import OldProcess, VersionBefore
from tests.world import destination, environment, free_port, until

SEEDREAM: dict[str, Any] = {
    "destination": "calls",
    "operation": "seedream-4.0",
    "input": {"prompt": "a lighthouse [fault:held]", "size": "1024x1024"},
}
LINGER = {"GENRELAY_HTTP__LINGER_SECONDS": "1"}


@pytest.fixture
def before(tmp_path: Path) -> VersionBefore:
    folder = tmp_path / "before"
    folder.mkdir()
    return VersionBefore(folder)


@dataclass
class Cluster:
    """Processes of both versions on one ground, behind a balancer."""

    on: Ground
    before: VersionBefore
    balancer: Balancer
    stack: AsyncExitStack
    left: list[OldProcess | Process] = field(default_factory=list)

    async def old(self, role: str) -> OldProcess:
        """Start a process of the version before."""
        given = {**self.settings(), "GENRELAY_PORT": str(free_port()), **LINGER}
        log = self.on.folder / f"old-{role}-{uuid4().hex[:8]}.log"
        process = await self.stack.enter_async_context(self.before.process(role, given, log))
        if role == "api":
            await self.balancer.add(process.url)
        return process

    async def new(self, role: Any) -> Process:
        """Start a process of this version."""
        process = await self.stack.enter_async_context(self.on.process(role, port=free_port(), **LINGER))
        if role == "api":
            await self.balancer.add(process.url)
        return process

    async def let_go(self, process: OldProcess | Process) -> None:
        """Ask a process to stop. The version before knows no linger: a `preStop` hook had it forgotten first."""
        is_api = process.url in self.balancer.known
        if is_api and isinstance(process, OldProcess):
            self.balancer.remove(process.url)
        process.send(signal.SIGTERM)
        if is_api and isinstance(process, Process):
            await self.balancer.forgets(process.url)
        self.left.append(process)

    async def kill(self, process: OldProcess | Process) -> None:
        """Kill a process."""
        is_api = process.url in self.balancer.known
        await process.kill()
        if is_api:
            await self.balancer.forgets(process.url)

    def settings(self) -> dict[str, str]:
        """Return what every process is told."""
        given = environment(port=self.on.port, sandbox_url=self.on.sandbox_url, database_url=self.on.database_url)
        return {**given, "GENRELAY_PUBLIC_URL": self.on.url, **FAST, **self.on.settings}

    async def migrate(self) -> None:
        """Run `genrelay migrate` of this version."""
        ran = await run("migrate", environment=clean_environment(**self.settings()))
        assert ran.status == 0, ran.err


@asynccontextmanager
async def own_database(postgres: EmbeddedServer) -> AsyncIterator[str]:
    """Lend an empty database."""
    name = f"rolling_{uuid4().hex}"
    server = await asyncpg.connect(postgres.dsn)
    await server.execute(f"CREATE DATABASE {name}")
    try:
        yield dsn_of(postgres.dsn, name)
    finally:
        await server.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await server.close()


@asynccontextmanager
async def cluster(
    postgres: EmbeddedServer, s3: S3Server, before: VersionBefore, folder: Path
) -> AsyncIterator[tuple[Cluster, Audience]]:
    """A cluster without processes, on a database with the schema of the version before; and who listens to it."""
    async with (
        own_database(postgres) as database_url,
        ground(database_url, s3, folder) as on,
        serving_receiver() as receiver,
        balancing(on.port) as balancer,
        AsyncExitStack() as stack,
        audience(on, receiver) as everybody,
    ):
        made = Cluster(on, before, balancer, stack)
        await before.run("migrate", **made.settings())
        try:
            yield made, everybody
        except BaseException as error:
            error.add_note(on.logs())
            raise


async def put_calls(on: Ground) -> str:
    """Make a destination for the call, whose submit has no callback's URL to count it by; returns its path."""
    path = f"{on.path}-calls"
    async with on.client() as client:
        given = destination(on.s3, on.bucket, endpoint_url=on.endpoint_url, path=path)
        (await client.put("/v1/destinations/calls?check=false", json=given)).raise_for_status()
    return path


async def check(of: Cluster, everybody: Audience, *loads: Load, calls: int) -> None:
    """Assert by the ledgers that nothing was lost and nothing happened twice. calls: paid for beside the clients' jobs."""
    wrong = [each for clients in loads for each in clients.wrong]
    assert not wrong, "\n".join(wrong)
    assert of.balancer.turned_away == 0, "somebody was ready all the time"
    ended = [job for clients in loads for job in clients.ended]
    assert len(ended) == sum(len(clients.accepted) for clients in loads)
    assert {job["status"] for job in ended} == {"succeeded"}
    real = [job for job in ended if not job["test"]]
    await of.on.check(*real, stored=1)
    await everybody.check()
    assert len(of.on.sandbox.paid) == len(real) + calls


async def test_the_version_before_runs_from_its_wheel_and_not_from_this_checkout(before: VersionBefore) -> None:
    version, files = await before.imported()
    assert version == before.version
    assert len(files) > 50
    assert all(file.is_relative_to(before.folder) for file in files)


async def test_every_statement_of_the_version_before_gets_the_same_rows_from_the_new_schema(
    postgres: EmbeddedServer, before: VersionBefore
) -> None:
    statements = await before.statements()
    assert len(statements) > 100
    async with own_database(postgres) as database_url:
        settings = environment(port=free_port(), sandbox_url="http://127.0.0.1:1", database_url=database_url)
        await before.run("migrate", **settings)
        rows = await _rows_of(database_url, statements)
        await migrate(database_url)
        assert await _rows_of(database_url, statements) == rows


async def _rows_of(database_url: str, statements: dict[str, str]) -> dict[str, list[tuple[str, str]]]:
    """Return the names and types of each statement's result columns."""
    # A statement that asyncpg has only prepared holds its locks, so the connection ends before anybody migrates.
    connection = await asyncpg.connect(database_url)
    prepared = {name: await connection.prepare(statement) for name, statement in statements.items()}
    found = {name: [(each.name, each.type.name) for each in of.get_attributes()] for name, of in prepared.items()}
    await connection.close()
    return found


@pytest.mark.timeout(240)
async def test_nobody_notices_that_every_process_is_replaced(
    postgres: EmbeddedServer, s3_server: S3Server, before: VersionBefore, tmp_path: Path
) -> None:
    async with cluster(postgres, s3_server, before, tmp_path) as (of, everybody):
        roles = ("api", "api", "worker", "worker")
        first_api, second_api, *workers = await asyncio.gather(*(of.old(role) for role in roles))
        await of.on.put_destination()
        await everybody.subscribe()
        await everybody.listen()
        path = await put_calls(of.on)
        called = await everybody.submit(**SEEDREAM)
        await of.on.until_submitted()
        [call] = of.on.sandbox.submits
        async with load(everybody) as clients:
            await clients.goes_on()
            await of.migrate()
            assert await pending(of.on.database_url) == []
            await clients.goes_on()
            third_api, new_worker = await asyncio.gather(of.new("api"), of.new("worker"))
            await of.let_go(first_api)
            await clients.goes_on()
            await of.let_go(workers[0])
            await clients.goes_on()
            fourth_api, another = await asyncio.gather(of.new("api"), of.new("worker"))
            clients.excused = True
            await of.kill(second_api)
            await clients.goes_on()
            clients.excused = False
            await of.let_go(workers[1])
            await clients.goes_on()
            await of.kill(new_worker)
            await of.new("worker")
            await clients.goes_on()
            # This version leaves without anybody's help, and whoever keeps a connection to it is told to let it go.
            async with load(everybody, 4, keep=True) as keeping:
                await keeping.goes_on()
                await of.new("api")
                await of.let_go(third_api)
                await keeping.goes_on()
                await until(lambda: _is(not third_api.alive))
                await keeping.goes_on()
            # Whoever made the call still waits for it; it was in flight all the time, and nobody else made it.
            await until(lambda: _is(sum(worker.alive for worker in workers) == 1))
            assert [each.task_id for each in of.on.sandbox.submits].count(call.task_id) == 1
            of.on.sandbox.release(call.task_id)
            assert [await each.ended() for each in of.left] == [0] * len(of.left)
            await clients.goes_on()
        assert fourth_api.alive
        assert another.alive
        found = await of.on.end(called)
        assert (found["status"], found["verified_by"]) == ("succeeded", "sync")
        [output] = found["outputs"]
        assert [key for key in s3_server.list_keys(of.on.bucket) if key.startswith(path)] == [output["key"]]
        await check(of, everybody, clients, keeping, calls=1)


@pytest.mark.timeout(240)
async def test_the_version_before_starts_and_works_on_the_new_schema(
    postgres: EmbeddedServer, s3_server: S3Server, before: VersionBefore, tmp_path: Path
) -> None:
    async with cluster(postgres, s3_server, before, tmp_path) as (of, everybody):
        await of.migrate()
        api, worker = await asyncio.gather(of.new("api"), of.new("worker"))
        await of.on.put_destination()
        await everybody.subscribe()
        await everybody.listen()
        async with load(everybody) as clients:
            await clients.goes_on()
            await of.old("api")
            await of.let_go(api)
            await clients.goes_on()
            await of.old("worker")
            await of.let_go(worker)
            await clients.goes_on(16)
            assert [await each.ended() for each in of.left] == [0] * len(of.left)
        applied = await of.on.fetch("SELECT migration_id FROM _pogo_migration")
        assert {row["migration_id"] for row in applied} == set(names())
        await check(of, everybody, clients, calls=0)


async def _is(so: bool) -> bool:
    return so
