"""`genrelay accounts limits`, and what the command line does when its account is at one of them."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.cli.command import CommandLine
from tests.world import World, job_body, until

HELD = "a lighthouse [fault:held]"


async def test_limits_are_shown_set_taken_away_and_obeyed(genrelay: CommandLine, world: World) -> None:
    shown = (await genrelay.operate("accounts", "limits", "default", "--json")).json
    assert shown["limits"]["open_jobs"] == {"value": None, "own": False}
    assert shown["limits"]["requests_at_once"] == {"value": 1000, "own": False}
    given = ["--open-jobs", "1", "--jobs-per-minute", "2.5", "--requests-burst", "7"]
    shown = (await genrelay.operate("accounts", "limits", "default", *given, "--json")).json["limits"]
    assert shown["open_jobs"] == {"value": 1, "own": True}
    assert shown["jobs_per_minute"] == {"value": 2.5, "own": True}
    assert shown["requests_burst"] == {"value": 7, "own": True}
    assert shown["requests_per_second"] == {"value": None, "own": False}

    await world.submit(HELD)

    async def refused() -> str | None:
        # The service remembers an account's limits for two seconds.
        return (await world.client.post("/v1/jobs", json=job_body(HELD))).json().get("code")

    assert await until(refused) == "too_many_open_jobs"
    given = ["--open-jobs", "none", "--jobs-per-minute", "default"]
    shown = (await genrelay.operate("accounts", "limits", "default", *given, "--json")).json["limits"]
    assert shown["open_jobs"] == {"value": None, "own": True}
    assert shown["jobs_per_minute"] == {"value": None, "own": False}
    assert shown["requests_burst"] == {"value": 7, "own": True}
    table = (await genrelay.operate("accounts", "limits", "default")).out
    assert "the account" in table
    assert "the settings" in table


async def test_what_can_not_be_a_limit_and_who_is_no_account_is_told(genrelay: CommandLine) -> None:
    wrong = [("--open-jobs", "0"), ("--open-jobs", "1.5"), ("--requests-at-once", "none"), ("--jobs-per-minute", "nan")]
    wrong += [("--jobs-per-minute", "many"), ("--requests-per-second", "-1")]
    wrong += [("--requests-per-second", "1e-308")]
    ran = await asyncio.gather(*(genrelay.operate("accounts", "limits", "default", *given) for given in wrong))
    for given, each in zip(wrong, ran, strict=True):
        assert (each.status, f"{given[0]} can't be {given[1]}" in each.err) == (2, True), each
    nobody = await genrelay.operate("accounts", "limits", "nobody", "--open-jobs", "1")
    assert (nobody.status, "there is no such account" in nobody.err) == (1, True)


async def set_limits(world: World, **limits: float) -> None:
    await world.service.pool.execute("UPDATE accounts SET limits = $1 WHERE name = 'default'", limits)
    world.service.accounts._seen.clear()


async def test_a_submit_waits_for_its_turn(genrelay: CommandLine, world: World) -> None:
    await set_limits(world, jobs_per_minute=60)
    await world.submit(HELD)
    # Until its next job there are two seconds.
    await world.service.pool.execute("UPDATE account_rates SET tokens = -1, at = now()")
    ran = await genrelay("jobs", "submit", "-", "--json", given=json.dumps(job_body(HELD)))
    assert ran.status == 0, ran.err
    assert ran.json["status"] == "queued"


@pytest.mark.parametrize(("limit", "value"), [("open_jobs", 1), ("jobs_per_minute", 0.1)])
async def test_what_takes_longer_fails_and_says_when_to_try_again(
    genrelay: CommandLine, world: World, limit: str, value: float
) -> None:
    await set_limits(world, **{limit: value})
    await world.submit(HELD)
    ran = await genrelay("jobs", "submit", "-", given=json.dumps(job_body(HELD)))
    assert ran.status == 1
    assert "Try again in" in ran.err
