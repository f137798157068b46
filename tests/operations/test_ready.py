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
