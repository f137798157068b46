"""Who we are at AWS is asked only where something stands on it."""

from __future__ import annotations

import asyncpg
import pytest

from tests.aws import StsFront
from tests.doctor.looking import look, told
from tests.world import World

_ROLE = """'{"type": "assume_role", "role_arn": "arn:aws:iam::123456789012:role/customer"}'"""


async def _let_a_role_in(world: World) -> None:
    connection = await asyncpg.connect(world.settings["GENRELAY_DATABASE_URL"])
    await connection.execute(f"UPDATE destinations SET spec = jsonb_set(spec, '{{auth}}', {_ROLE})")
    await connection.close()


async def test_aws_is_not_asked_when_nothing_needs_it(world: World, sts: StsFront) -> None:
    assert told(await look(world.settings, "buckets"), "buckets.aws").status == "ok"
    assert not sts.calls


async def test_who_we_are_is_told_where_a_role_is_taken(world: World, sts: StsFront) -> None:
    await _let_a_role_in(world)
    found = told(await look(world.settings, "buckets"), "buckets.aws")
    assert found.status == "ok"
    assert "arn:aws:" in found.found
    assert [call.action for call in sts.calls] == ["GetCallerIdentity"]


async def test_an_sts_that_does_not_answer_is_a_failure_in_time(
    world: World, sts: StsFront, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _let_a_role_in(world)
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:9")
    found = told(await look(world.settings, "buckets"), "buckets.aws")
    assert (found.status, "1 bucket need" in found.found) == ("failed", True)
