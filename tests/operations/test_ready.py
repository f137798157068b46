"""What `/readyz` and `/livez` say, and how soon, when something is wrong."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import httpx

from service.db.embedded import EmbeddedServer, control
from service.demo.s3server import S3Server
from tests.chaos.own_server import own_server
from tests.world import World, running_world, until

__all__ = ["own_server"]
SOON = 3.0  # seconds


async def probe(url: str, path: str) -> tuple[int, dict[str, Any]]:
    """Ask as Kubernetes does: on a connection of its own, and not for long."""
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=SOON, verify=False) as anyone:
        began = time.monotonic()
        answer = await anyone.get(path)
    assert time.monotonic() - began < SOON
    return answer.status_code, answer.json()


@contextmanager
def stopped(folder: Path) -> Iterator[None]:
    """Have PostgreSQL do nothing at all, without closing anything."""
    parent = int((folder / "postmaster.pid").read_text(encoding="utf-8").split("\n")[0])
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text(encoding="utf-8").split()
    every = [parent, *map(int, children)]
    for pid in every:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in every:
            os.kill(pid, signal.SIGCONT)


async def gauge(url: str, name: str) -> float:
    """Return a metric without labels, as Prometheus reads it."""
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=SOON, verify=False) as anyone:
        [line] = [line for line in (await anyone.get("/metrics")).text.splitlines() if line.startswith(f"{name} ")]
    return float(line.split()[1])


async def is_ready(url: str) -> bool:
    return (await probe(url, "/readyz"))[0] == 200


async def test_all_is_well_and_no_reasons_are_told(world: World) -> None:
    status, said = await probe(world.url, "/readyz")
    assert (status, said) == (
        200,
        {"ok": True, "checks": {"database": True, "migrations": True, "listener": True, "workers": True}},
    )


async def test_a_database_that_is_shut_down_makes_it_unready_and_not_dead(
    own_server: tuple[EmbeddedServer, Path], s3_server: S3Server, bucket: str
) -> None:
    server, folder = own_server
    async with running_world(server.dsn, s3_server, bucket) as world:
        await asyncio.to_thread(control, folder, "stop", "-m", "immediate")
        status, said = await probe(world.url, "/readyz")
        assert status == 503
        assert (said["ok"], said["checks"]["database"], said["checks"]["migrations"]) == (False, False, False)
        assert said["reasons"]["database"].startswith("it does not answer (")
        assert "postgres" not in str(said).lower()
        assert await probe(world.url, "/livez") == (200, {"ok": True})
        await asyncio.to_thread(control, folder, "restart")
        await until(lambda: is_ready(world.url), 30)


async def test_a_database_that_hangs_makes_it_unready_as_soon(
    own_server: tuple[EmbeddedServer, Path], s3_server: S3Server, bucket: str
) -> None:
    server, folder = own_server
    async with running_world(server.dsn, s3_server, bucket) as world:
        with stopped(folder):
            for status, said in await asyncio.gather(*[probe(world.url, "/readyz") for _ in range(20)]):
                assert status == 503
                assert said["reasons"]["database"] == "it does not answer (no answer in time)"
            assert await probe(world.url, "/livez") == (200, {"ok": True})
        await until(lambda: is_ready(world.url), 30)


async def test_a_database_that_lacks_a_migration_makes_it_unready_until_it_has_it(world: World) -> None:
    pool = world.service.pool
    [row] = await pool.fetch(
        "DELETE FROM _pogo_migration WHERE migration_id = (SELECT max(migration_id) FROM _pogo_migration) RETURNING *"
    )
    status, said = await probe(world.url, "/readyz")
    assert (status, said["checks"]["migrations"], said["checks"]["database"]) == (503, False, True)
    assert said["reasons"] == {"migrations": f"the database lacks {row['migration_id']}: run `genrelay migrate`"}
    places = ", ".join(f"${number}" for number in range(1, len(row) + 1))
    await pool.execute(f"INSERT INTO _pogo_migration ({', '.join(row.keys())}) VALUES ({places})", *row.values())
    assert (await probe(world.url, "/readyz"))[0] == 200


async def test_an_empty_database_in_its_place_lacks_all_migrations(world: World) -> None:
    await world.service.pool.execute("ALTER TABLE _pogo_migration RENAME TO elsewhere")
    status, said = await probe(world.url, "/readyz")
    assert (status, said["checks"]["database"], said["checks"]["migrations"]) == (503, True, False)


async def test_a_migration_of_a_later_version_is_no_reason(world: World) -> None:
    await world.service.pool.execute(
        "INSERT INTO _pogo_migration SELECT * FROM json_populate_record("
        '(SELECT m FROM _pogo_migration m LIMIT 1), \'{"migration_id": "9999_later", "migration_hash": "later"}\')'
    )
    assert (await probe(world.url, "/readyz"))[0] == 200


async def test_a_process_that_leaves_is_unready_and_says_why(world: World) -> None:
    world.service.leaving.begin()
    status, said = await probe(world.url, "/readyz")
    assert (status, said["reasons"]) == (503, {"leaving": "the process was told to stop"})
    assert (await probe(world.url, "/livez"))[0] == 200


async def test_a_listener_that_is_cut_off_makes_it_unready_until_it_hears_again(
    world: World, postgres: EmbeddedServer
) -> None:
    name = await world.service.pool.fetchval("SELECT current_database()")
    await until(lambda: is_ready(world.url))
    assert await gauge(world.url, "genrelay_listener_up") == 1
    server = await asyncpg.connect(postgres.dsn)
    await server.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')  # those that are open stay
    try:
        cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND application_name = $2"
        assert await server.fetch(cut, name, "genrelay listener")

        async def is_unready() -> bool:
            return not await is_ready(world.url)

        await until(is_unready)
        status, said = await probe(world.url, "/readyz")
        assert (status, said["ok"], said["checks"]["listener"]) == (503, False, False)
        assert said["reasons"]["listener"] == "it does not hear what the database tells"
        assert await gauge(world.url, "genrelay_listener_up") == 0
        assert await probe(world.url, "/livez") == (200, {"ok": True})
    finally:
        await server.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
        await server.close()
    await until(lambda: is_ready(world.url))
    assert await gauge(world.url, "genrelay_listener_up") == 1


async def test_a_worker_that_fails_again_and_again_is_to_be_restarted(
    database_url: str, s3_server: S3Server, bucket: str
) -> None:
    async with running_world(database_url, s3_server, bucket, GENRELAY_ENGINE__SWEEP_SECONDS="0.1") as world:

        async def says(status: int) -> bool:
            return (await probe(world.url, "/livez"))[0] == status

        await until(lambda: is_ready(world.url))
        await world.service.pool.execute("ALTER TABLE callbacks RENAME TO elsewhere")  # the sweep looks into it
        await until(lambda: says(503))
        assert await probe(world.url, "/livez") == (503, {"ok": False})
        assert await gauge(world.url, "genrelay_engine_healthy") == 0
        status, said = await probe(world.url, "/readyz")
        assert (status, said["reasons"]) == (503, {"workers": "one of them fails again and again"})
        await world.service.pool.execute("ALTER TABLE elsewhere RENAME TO callbacks")
        await until(lambda: says(200), 60)
        assert await gauge(world.url, "genrelay_engine_healthy") == 1
        assert await is_ready(world.url)
