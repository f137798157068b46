"""`genrelay secrets`: from the old key to the new one."""

from __future__ import annotations

from service.crypto import Keyring
from tests.cli.command import CommandLine, Ran, clean_environment, run
from tests.world import SECRET_KEY, World

NEW = "another secret key for tests - 32 characters"


async def with_keys(world: World, keys: str, *arguments: str) -> Ran:
    """Run a command as an operator whose settings have these keys."""
    environment = clean_environment(**{**world.settings, "GENRELAY_SECRET_KEY": keys})
    ran = await run("secrets", *arguments, environment=environment)
    assert SECRET_KEY not in ran.out + ran.err
    assert NEW not in ran.out + ran.err
    return ran


async def test_a_key_is_taken_out_of_use(genrelay: CommandLine, world: World) -> None:
    held = await world.submit("a lighthouse [fault:held]")
    task = (await world.client.get(f"/v1/jobs/{held['id']}", params={"wait": 1})).json()["provider_task_id"]
    assert task
    both = f"{NEW},{SECRET_KEY}"
    alone = await with_keys(world, SECRET_KEY, "status")
    assert "there is one key" in alone.out
    before = (await with_keys(world, both, "status", "--json")).json
    [new, old] = before["keys"]
    assert (new["stored_secrets"], new["open_jobs"], old["open_jobs"]) == (0, 0, 1)
    assert old["stored_secrets"] >= 1
    assert before["last_key_is_needed"]
    assert "genrelay secrets rewrap" in (await with_keys(world, both, "status")).out
    assert (await with_keys(world, both, "rewrap", "--json")).json == {
        "rewrapped": old["stored_secrets"],
        "unreadable": {},
    }
    assert "until those jobs have ended" in (await with_keys(world, both, "status")).out
    assert world.sandbox.release(task)
    world.service.keyring.__init__([NEW, SECRET_KEY])  # type: ignore[misc]
    await world.end(held)
    after = (await with_keys(world, both, "status", "--json")).json
    assert not after["last_key_is_needed"]
    assert "take it out" in (await with_keys(world, both, "status")).out
    sealed = await world.service.pool.fetchval("SELECT secret FROM destinations")
    assert world.s3.secret_access_key in Keyring([NEW]).decrypt(sealed)


async def test_what_can_not_be_read_is_named_and_fails_the_command(genrelay: CommandLine, world: World) -> None:
    for command in ("rewrap", "status"):
        ran = await with_keys(world, NEW, command, "--json")
        assert ran.json["unreadable"]["destinations.secret"] == 1
        assert ran.status == (1 if command == "rewrap" else 0)
    assert "destinations.secret: 1 can't be read" in (await with_keys(world, NEW, "status")).out
