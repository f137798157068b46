"""API keys: shown once, kept as digests, and the one from the settings."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from service.accounts import Accounts
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
