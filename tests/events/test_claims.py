"""What one claim takes, and what several at once must not."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from config.settings import DeliverySettings
from service.events.claims import claim
from service.ids import new_uuid
from tests.events.deliveries import Ground

UNDER_WAY = "SELECT count(*) FROM deliveries WHERE worker_id IS NOT NULL AND due_at > now()"
HAND_BACK = "UPDATE deliveries SET worker_id = NULL, due_at = now() WHERE status = 'pending'"
AT_ONCE, ROUNDS = 8, 15


async def claim_at_once(ground: Ground, settings: DeliverySettings) -> int:
    """Let eight processes claim at the same moment, twice; returns how many are under way then."""
    for _ in range(2):
        await asyncio.gather(*(claim(ground.pool, new_uuid(), Counter(), settings) for _ in range(AT_ONCE)))
    under_way = await ground.pool.fetchval(UNDER_WAY)
    await ground.pool.execute(HAND_BACK)
    return int(under_way)


@pytest.mark.parametrize("limit", [1, 4])
async def test_an_endpoint_never_has_more_under_way_than_it_may(ground: Ground, limit: int) -> None:
    subscription = await ground.subscribe("https://hooks.example/a")
    await ground.pool.execute("UPDATE subscriptions SET last_success_at = now() WHERE id = $1", subscription)
    await ground.events(100)
    settings = DeliverySettings(endpoint_concurrency=limit)
    counts = [await claim_at_once(ground, settings) for _ in range(ROUNDS)]
    assert max(counts) <= limit
    assert limit in counts


async def test_an_endpoint_that_has_failed_a_lot_is_tried_by_one_process_at_a_time(ground: Ground) -> None:
    await ground.subscribe("https://hooks.example/a", failures=5)
    await ground.events(100)
    counts = [await claim_at_once(ground, DeliverySettings()) for _ in range(ROUNDS)]
    assert set(counts) == {1}


async def test_one_claim_takes_as_many_as_may_be_under_way_to_an_endpoint_that_takes_them(ground: Ground) -> None:
    subscription = await ground.subscribe("https://hooks.example/a")
    await ground.events(40)
    settings = DeliverySettings(endpoint_concurrency=16)
    first = await claim(ground.pool, new_uuid(), Counter(), settings)
    assert len(first.deliveries) == 1, "nobody knows yet whether it takes anything"
    await ground.pool.execute("UPDATE subscriptions SET last_success_at = now() WHERE id = $1", subscription)
    second = await claim(ground.pool, new_uuid(), Counter(), settings)
    assert len(second.deliveries) == 15
