"""The world without workers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from uuid import uuid4

import pytest
from botocore.retries.standard import ExponentialBackoff

from service.demo.s3server import S3Server
from tests.engine.driven import Driven, driven_world
from tests.engine.lining import TXT2IMG
from tests.engine.shaky import Shaky, shaky_world
from tests.engine.spools import spool_settings
from tests.faulty_s3 import FaultyS3

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


@pytest.fixture
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let botocore's second tries follow at once, and those of a conditional write."""
    monkeypatch.setattr(ExponentialBackoff, "delay_amount", lambda _self, _context: 0.0)
    monkeypatch.setattr("service.outputs.bucket._FIRST_PAUSE", 0.0)


@pytest.fixture
async def shaky(
    database_url: str, s3_server: S3Server, bucket: str, faulty_s3: FaultyS3, without_pauses: None
) -> AsyncIterator[Shaky]:
    """A world without workers whose bucket can be made to go wrong."""
    async with shaky_world(database_url, s3_server, bucket, faulty_s3) as running:
        yield running


@pytest.fixture
def spool_bucket(s3_server: S3Server, free_buckets: list[str]) -> Iterator[str]:
    """The operator's bucket, empty."""
    if free_buckets:
        name = free_buckets.pop()
    else:
        name = f"test-{uuid4().hex}"
        s3_server.create_bucket(name)
    yield name
    s3_server.empty_bucket(name)
    free_buckets.append(name)


@pytest.fixture
async def spooling(database_url: str, s3_server: S3Server, bucket: str, spool_bucket: str) -> AsyncIterator[Driven]:
    """A world without workers whose operator has a spool."""
    async with driven_world(database_url, s3_server, bucket, **spool_settings(s3_server, spool_bucket)) as running:
        yield running
