"""One real S3 server per test run, for whoever imports these fixtures."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest

from service.demo.s3server import S3Server, running_s3


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """A running S3 server; takes about four seconds, once."""
    with running_s3() as server:
        yield server


@pytest.fixture(scope="session")
def free_buckets() -> list[str]:
    """Buckets that earlier tests have emptied: the first object in a new one takes a fifth of a second."""
    return []


@pytest.fixture
def bucket(s3_server: S3Server, free_buckets: list[str]) -> Iterator[str]:
    """An empty bucket that only this test uses."""
    if free_buckets:
        name = free_buckets.pop()
    else:
        name = f"test-{uuid4().hex}"
        s3_server.create_bucket(name)
    yield name
    s3_server.empty_bucket(name)
    free_buckets.append(name)
