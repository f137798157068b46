"""`genrelay accounts list|erase`, on the database of a running service."""

from __future__ import annotations

from tests.cli.command import CommandLine
from tests.world import World, client_for, until


async def test_an_account_is_erased_only_if_it_is_meant_and_shows_how_far_that_is(
    genrelay: CommandLine, world: World
) -> None:
    made = (await genrelay.operate("keys", "create", "--account", "painters", "--json")).json
    asked = await genrelay.operate("accounts", "erase", "painters")
    assert asked.status != 0
    assert "--yes" in asked.err
    async with client_for(world.url, made["key"]) as painters:
        assert (await painters.get("/v1/jobs")).status_code == 200
        erased = await genrelay.operate("accounts", "erase", "painters", "--yes", "--json")
        assert erased.json == {"account": "painters", "state": "erasing", "canceled_jobs": 0}

        async def shut_out() -> bool:
            return (await painters.get("/v1/jobs")).status_code == 401

        await until(shut_out)
    listed = (await genrelay.operate("accounts", "list", "--json")).json["data"]
    states = {one["name"]: (one["state"], one["keys"], one["jobs_left"]) for one in listed}
    assert states["painters"] == ("erasing", 0, 0)
    assert states["default"] == ("active", 1, None)
    again = await genrelay.operate("keys", "create", "--account", "painters")
    assert again.status == 1
    assert "is being erased" in again.err
    assert "painters" in (await genrelay.operate("accounts", "list")).out


async def test_an_unknown_account_is_told(genrelay: CommandLine) -> None:
    for more in ([], ["--yes"]):
        ran = await genrelay.operate("accounts", "erase", "nobody", *more)
        assert ran.status == 1
        assert "there is no such account" in ran.err


async def test_a_job_is_deleted_by_its_own(genrelay: CommandLine, world: World) -> None:
    job = await world.run()
    assert await genrelay.json("jobs", "delete", job["id"]) == {"id": job["id"], "deleted": True}
    ran = await genrelay("jobs", "delete", job["id"])
    assert ran.status == 1
    assert "There is no such thing" in ran.err


async def test_an_open_job_is_not_deleted_and_the_way_is_told(genrelay: CommandLine, world: World) -> None:
    job = await world.submit("a lighthouse [fault:stuck]")
    ran = await genrelay("jobs", "delete", job["id"])
    assert ran.status == 1
    assert "genrelay jobs cancel" in ran.err
