"""The world without workers."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from service.demo.s3server import S3Server
from tests.engine.driven import Driven, driven_world


@pytest.fixture
async def driven(database_url: str, s3_server: S3Server, bucket: str) -> AsyncIterator[Driven]:
    """A world of this test's own, in which nothing happens by itself but what the provider does."""
    async with driven_world(database_url, s3_server, bucket) as running:
        yield running
