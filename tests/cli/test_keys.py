"""`genrelay keys`, on the database of a running service, and on an embedded one that is in use."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg

from service.db.embedded import EmbeddedServer
from tests.cli.command import CommandLine, clean_environment, run
from tests.world import World, client_for


async def test_a_made_key_opens_its_account_is_never_shown_again_and_is_revoked(
    genrelay: CommandLine, world: World
) -> None:
    made = (await genrelay.operate("keys", "create", "--account", "painters", "--json")).json
    assert made["account"] == "painters"
    human = await genrelay.operate("keys", "create")
    spare = human.out.split()[0]
    async with client_for(world.url, made["key"]) as painters, client_for(world.url, spare) as default:
        assert (await painters.get("/v1/destinations")).json()["data"] == []
        assert [one["name"] for one in (await default.get("/v1/destinations")).json()["data"]] == ["acme"]

    table, listed = await asyncio.gather(genrelay.operate("keys", "list"), genrelay.operate("keys", "list", "--json"))
    assert "painters" in table.out
    assert made["id"] in [key["id"] for key in listed.json["data"]]
    assert not any(made["key"] in one.out + one.err or spare in one.out + one.err for one in (table, listed))


async def test_a_revoked_key_opens_nothing(genrelay: CommandLine, world: World) -> None:
    made = (await genrelay.operate("keys", "create", "--json")).json
    revoked = await genrelay.operate("keys", "revoke", made["id"], "--json")
    assert revoked.json == {"id": made["id"], "revoked": True}
    async with client_for(world.url, made["key"]) as client:
        assert (await client.get("/v1/jobs")).status_code == 401
    twice, unknown = await asyncio.gather(
        genrelay.operate("keys", "revoke", made["id"]), genrelay.operate("keys", "revoke", "key_nonsense")
    )
    assert twice.status == unknown.status == 1
    assert "there is no such key" in twice.err
    assert "there is no such key" in unknown.err


async def test_keys_are_made_on_an_embedded_database_while_others_use_it(tmp_path: Path) -> None:
    environment = clean_environment(GENRELAY_DATA_DIR=str(tmp_path))
    server = EmbeddedServer(tmp_path)
    dsn = await asyncio.to_thread(server.start)
    try:
        made = await asyncio.gather(*(run("keys", "create", "--json", environment=environment) for _ in range(2)))
        assert [one.status for one in made] == [0, 0]
        connection = await asyncpg.connect(dsn)
        assert await connection.fetchval("SELECT count(*) FROM api_keys") == 2
        await connection.close()
    finally:
        await asyncio.to_thread(server.stop)
    assert not (tmp_path / "postgres" / "postmaster.pid").exists()
