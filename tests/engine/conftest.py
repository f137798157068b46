"""The world without workers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import pytest

from service.demo.s3server import S3Server
from tests.engine.driven import Driven, driven_world
from tests.engine.lining import TXT2IMG

Limited = Callable[..., AbstractAsyncContextManager[Driven]]


@pytest.fixture
async def driven(database_url: str, s3_server: S3Server, bucket: str) -> AsyncIterator[Driven]:
    """A world of this test's own, in which nothing happens by itself but what the provider does."""
    async with driven_world(database_url, s3_server, bucket) as running:
        yield running


@pytest.fixture
def limited(database_url: str, s3_server: S3Server, bucket: str) -> Limited:
    """Make a world without workers under limits."""
    return lambda **more: driven_world(database_url, s3_server, bucket, **more)


@pytest.fixture
async def two_at_a_time(limited: Limited) -> AsyncIterator[Driven]:
    """A world where the provider may have two txt2img jobs at a time."""
    async with limited(**{TXT2IMG + "CONCURRENCY": "2"}) as driven:
        yield driven
