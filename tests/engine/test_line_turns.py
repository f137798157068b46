"""Fair turns: one account's backlog does not keep another's job waiting, however long it is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from service.db.sql import queries
from service.demo.s3server import S3Server
from service.engine.dispatch import Dispatcher
from service.engine.line import MOST, NOBODY
from tests.engine.driven import Driven, driven_world, uuid
from tests.engine.lining import TXT2IMG, a_minute_later, next_round, queue, waiting
from tests.world import txt2img

_BACKLOG = """
WITH more AS (INSERT INTO accounts (id, name) VALUES ($1, 'big') ON CONFLICT DO NOTHING), copied AS (
    INSERT INTO jobs SELECT (jsonb_populate_record(jobs, jsonb_build_object(
        'id', gen_random_uuid(), 'account_id', $1, 'due_at', deadline_at))).*
    FROM jobs, generate_series(1, $2::integer) WHERE id = $3 RETURNING *
)
INSERT INTO line (job_id, provider, operation, account_id, images, until)
SELECT id, provider, operation, account_id, images, deadline_at FROM copied
"""


@pytest.fixture
async def one_at_a_time(database_url: str, s3_server: S3Server, bucket: str) -> AsyncIterator[Driven]:
    """A world without workers where the provider may have one txt2img job at a time."""
    async with driven_world(database_url, s3_server, bucket, **{TXT2IMG + "CONCURRENCY": "1"}) as driven:
        yield driven


async def _backlog(driven: Driven, account: int, count: int) -> None:
    """Put jobs of an account in line, as copies of one that waits there already."""
    [some] = await driven.sql("SELECT job_id FROM line LIMIT 1")
    await driven.sql(_BACKLOG.replace("'big'", f"'account {account}'"), UUID(int=account), count, some["job_id"])


async def _accounts(driven: Driven) -> list[UUID]:
    rows = await driven.sql("SELECT account_id FROM line WHERE granted_at IS NOT NULL ORDER BY granted_at")
    return [row["account_id"] for row in rows]


async def test_one_job_goes_next_although_another_account_has_ten_thousand_in_line(one_at_a_time: Driven) -> None:
    driven, dispatcher = one_at_a_time, Dispatcher(one_at_a_time.context)
    first = await driven.sent()
    await _backlog(driven, 7, 10_000)
    await driven.cancel(first)
    await dispatcher.round()
    assert await _accounts(driven) == [UUID(int=7)]
    mine = await driven.sent()
    await driven.sql("DELETE FROM line WHERE granted_at IS NOT NULL")
    assert await next_round(driven, dispatcher) == [uuid(mine)]


async def test_accounts_take_turns_from_round_to_round(one_at_a_time: Driven) -> None:
    driven = one_at_a_time
    await driven.sent()
    for account in (3, 5, 7):
        await _backlog(driven, account, 4)
    served = []
    for _ in range(8):
        await Dispatcher(driven.context).round()
        [account] = await _accounts(driven)
        served.append(account)
        await driven.sql("DELETE FROM line WHERE granted_at IS NOT NULL")
    assert len(set(served[:4])) == 4, "each once, whoever has how many"
    assert len(set(served[4:7])) == 3, "and again, but for the one that has no more"


async def test_within_one_round_too_each_account_goes_once_before_any_goes_twice(one_at_a_time: Driven) -> None:
    driven = one_at_a_time
    await driven.sent()
    await _backlog(driven, 3, 50)
    await _backlog(driven, 5, 2)
    rows = queries().next_in_line(
        driven.service.pool, provider="novita", operation="txt2img", turn=UUID(int=3), most=MOST
    )
    turns = [row["account_id"] async for row in rows]
    assert turns[0] == UUID(int=5), "after the one that was served last"
    assert len(set(turns[:3])) == 3
    assert turns.count(UUID(int=5)) == 2


async def test_where_images_are_short_whoever_has_had_the_fewest_goes_first(
    database_url: str, s3_server: S3Server, bucket: str
) -> None:
    async with driven_world(database_url, s3_server, bucket, **{TXT2IMG + "IMAGES_PER_MINUTE": "8"}) as driven:
        await driven.sent(input=txt2img("a lighthouse [fault:stuck]", image_num=8))
        await _backlog(driven, 7, 20)
        await driven.sql("UPDATE line SET images = 1 WHERE account_id = $1", UUID(int=7))
        await _backlog(driven, 5, 20)
        await driven.sql("UPDATE line SET images = 8 WHERE account_id = $1", UUID(int=5))
        for _ in range(9):
            await next_round(driven)
            await a_minute_later(driven)
        rows = await driven.sql("SELECT account_id, sum(images)::integer AS images FROM grants GROUP BY account_id")
        had = {row["account_id"]: row["images"] for row in rows}
        assert abs(had[UUID(int=5)] - had[UUID(int=7)]) <= 8, had


async def test_of_one_account_the_first_goes_first(one_at_a_time: Driven) -> None:
    driven = one_at_a_time
    await queue(driven, 4)
    in_order = await waiting(driven)
    rows = queries().next_in_line(driven.service.pool, provider="novita", operation="txt2img", turn=NOBODY, most=MOST)
    assert [row["job_id"] async for row in rows] == in_order
