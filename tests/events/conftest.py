"""What tests of events share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.events.deliveries import Ground, delivery_ground
from tests.receiver import Receiver, serving_receiver


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A customer's receiver, in this loop."""
    async with serving_receiver() as running:
        yield running


@pytest.fixture
async def ground(database_url: str) -> AsyncIterator[Ground]:
    """An account whose subscriptions and events the test makes, on a database of its own."""
    async with delivery_ground(database_url) as made:
        yield made
