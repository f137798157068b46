"""The fixtures that every layer shares."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from hypothesis import settings

from service.demo.s3server import S3Server
from tests.aws import moto, sts
from tests.database import database_url, empty_database, postgres
from tests.faulty_s3 import faulty_s3
from tests.s3server import bucket, free_buckets, s3_server
from tests.world import World, running_world

__all__ = [
    "bucket",
    "database_url",
    "empty_database",
    "faulty_s3",
    "free_buckets",
    "moto",
    "postgres",
    "s3_server",
    "sts",
    "world",
]


# A slow machine is no mistake of the code's: a time never decides a test.
settings.register_profile("timeless", settings(), deadline=None)
settings.load_profile("timeless")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep what starts many processes on one worker, one after another: side by side they would starve each other."""
    for item in items:
        if item.path.parent.name in {"chaos", "cli", "demo", "upgrading"}:
            item.add_marker(pytest.mark.xdist_group("processes"))


@pytest.fixture
async def world(database_url: str, s3_server: S3Server, bucket: str) -> AsyncIterator[World]:
    """A whole small world of this test's own."""
    async with running_world(database_url, s3_server, bucket) as running:
        yield running
