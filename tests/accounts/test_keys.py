"""API keys: shown once, kept as digests, and the one from the settings."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime

import pytest

from service.accounts import Accounts, TooManyStrangersError
from service.db.pool import Pool, open_pool


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    opened = await open_pool(database_url)
    yield opened
    await opened.close()


async def test_another_bootstrap_key_takes_the_place_of_the_one_before(pool: Pool) -> None:
    await Accounts(pool).bootstrap("the first key of them all")
    await Accounts(pool).bootstrap("the second key of them all")
    assert await Accounts(pool).authenticate("the first key of them all") is None
    assert await Accounts(pool).authenticate("the second key of them all") is not None


async def test_a_bootstrap_key_that_comes_back_is_good_again(pool: Pool) -> None:
    for key in ("the first key of them all", "the second key of them all", "the first key of them all"):
        await Accounts(pool).bootstrap(key)
    assert await Accounts(pool).authenticate("the first key of them all") is not None
    assert await Accounts(pool).authenticate("the second key of them all") is None


async def test_a_bootstrap_key_leaves_keys_that_were_made_alone(pool: Pool) -> None:
    _, made = await Accounts(pool).create_key("default")
    await Accounts(pool).bootstrap("the first key of them all")
    await Accounts(pool).bootstrap("the second key of them all")
    assert await Accounts(pool).authenticate(made) is not None


async def test_no_key_is_kept_in_the_database(pool: Pool) -> None:
    _, made = await Accounts(pool).create_key("acme")
    [row] = await pool.fetch("SELECT api_keys::text AS whole FROM api_keys")
    assert made not in row["whole"]
    assert made[3:] not in row["whole"]


async def test_a_revoked_key_opens_nothing_on_a_process_that_has_not_seen_it(pool: Pool) -> None:
    key_id, made = await Accounts(pool).create_key("acme")
    assert await Accounts(pool).revoke_key(key_id)
    assert not await Accounts(pool).revoke_key(key_id)
    assert await Accounts(pool).authenticate(made) is None


async def test_a_bootstrap_key_that_an_operator_revoked_stays_revoked(pool: Pool) -> None:
    await Accounts(pool).bootstrap("the first key of them all")
    [key] = await Accounts(pool).list_keys()
    assert await Accounts(pool).revoke_key(key.id)
    await Accounts(pool).bootstrap("the first key of them all")
    assert await Accounts(pool).authenticate("the first key of them all") is None


async def test_the_use_of_a_key_is_noted_once_an_hour(pool: Pool) -> None:
    key_id, made = await Accounts(pool).create_key("acme")

    async def used() -> datetime | None:
        return (await Accounts(pool).list_keys())[0].last_used_at

    assert await used() is None
    await Accounts(pool).authenticate(made)
    first = await used()
    assert first is not None
    await Accounts(pool).authenticate(made)
    assert await used() == first
    await pool.execute("UPDATE api_keys SET last_used_at = now() - interval '61 minutes'")
    await asyncio.gather(*(Accounts(pool).authenticate(made) for _ in range(5)))
    again = await used()
    assert again is not None
    assert again >= first
    assert key_id


async def test_a_key_is_looked_up_once_for_everybody_who_brings_it(pool: Pool) -> None:
    _, made = await Accounts(pool).create_key("acme")
    accounts = Accounts(pool)
    found = await asyncio.gather(*(accounts.authenticate(made) for _ in range(200)))
    assert len(set(found)) == 1
    assert found[0] is not None
    assert accounts._asking == {}


async def test_who_gives_up_does_not_take_the_answer_from_the_others(pool: Pool) -> None:
    _, made = await Accounts(pool).create_key("acme")
    accounts = Accounts(pool)
    first, second = (asyncio.create_task(accounts.authenticate(made)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert await second is not None


async def test_a_wrong_key_is_not_looked_up_again_at_once_and_one_that_is_added_opens(pool: Pool) -> None:
    accounts = Accounts(pool)
    assert await accounts.authenticate("not a key as yet") is None
    await Accounts(pool).add_key("acme", "not a key as yet")
    assert await accounts.authenticate("not a key as yet") is None, "remembered for a second"
    await accounts.add_key("acme", "not a key as yet")
    assert await accounts.authenticate("not a key as yet") is not None


async def test_those_who_try_keys_do_not_keep_out_those_who_have_one(pool: Pool) -> None:
    _, made = await Accounts(pool).create_key("acme")
    accounts = Accounts(pool)
    assert await accounts.authenticate(made) is not None
    accounts._seen = {digest: (holder, 0.0) for digest, (holder, _) in accounts._seen.items()}
    strangers = [asyncio.create_task(accounts.authenticate(f"a wrong key {number}")) for number in range(1000)]
    await asyncio.sleep(0)
    with pytest.raises(TooManyStrangersError):
        await accounts.authenticate("one wrong key too many")
    assert await accounts.authenticate(made) is not None
    assert sum(each.done() for each in strangers) < 500, "it did not wait for them"
    assert set(await asyncio.gather(*strangers)) == {None}
    assert accounts._waiting == 0


async def test_the_keys_of_an_erased_account_open_nothing(pool: Pool) -> None:
    _, made = await Accounts(pool).create_key("acme")
    await pool.execute("UPDATE accounts SET erased_at = now()")
    assert await Accounts(pool).authenticate(made) is None
