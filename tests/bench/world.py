"""What both sides of the pipeline bench work against: the sandbox as provider, and a real S3 server."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import aioboto3
from aiobotocore.config import AioConfig

from tests.bench.processes import Child, clean_environment, port_file

API_KEY = "sandbox-key-0123456789"
BUCKET = "bench"


@dataclass(frozen=True, slots=True)
class Storage:
    """A bucket and who may write to it."""

    endpoint: str
    bucket: str
    region: str = "us-east-1"
    access_key_id: str = "none"
    secret_access_key: str = field(default="none", repr=False)


@dataclass(frozen=True, slots=True)
class World:
    """The provider's origin and the bucket."""

    provider: str
    storage: Storage


# Nothing listens on port 9: for a service that only takes in callbacks and never calls anybody.
NOWHERE = World("http://127.0.0.1:9", Storage("http://127.0.0.1:9", "nowhere"))


def count_objects(storage: Storage, prefix: str) -> int:
    """Return how many objects below `prefix` are not empty."""

    async def count() -> int:
        session = aioboto3.Session(storage.access_key_id, storage.secret_access_key, region_name=storage.region)
        config = AioConfig(s3={"addressing_style": "path"})
        async with session.client("s3", endpoint_url=storage.endpoint, config=config) as s3:
            pages = s3.get_paginator("list_objects_v2").paginate(Bucket=storage.bucket, Prefix=prefix)
            return sum([entry["Size"] > 0 async for page in pages for entry in page.get("Contents", [])])

    return asyncio.run(count())


@contextlib.contextmanager
def _running_sandbox(folder: Path) -> Iterator[str]:
    """Run the lean sandbox; yields its origin."""
    listening = port_file(folder, "sandbox")
    command = [sys.executable, "-m", "service.sandbox", "--port", "0", "--port-file", str(listening), "--lean"]
    with Child("sandbox", command, folder / "sandbox.log", clean_environment()) as child:
        yield f"http://127.0.0.1:{child.wait_for_port(listening)}"
        child.alive()


@contextlib.contextmanager
def running_storage(*more: str) -> Iterator[Storage]:
    """Run an S3 server with an empty bucket, and further ones."""
    from service.demo.s3server import running_s3  # noqa: PLC0415 - an extra, and the callbacks bench needs no S3

    with running_s3() as server:
        for name in (BUCKET, *more):
            server.create_bucket(name)
        admin = server.admin
        yield Storage(server.endpoint_url, BUCKET, server.region, admin.access_key_id, admin.secret_access_key)


@contextlib.contextmanager
def running_world(folder: Path) -> Iterator[World]:
    """Run the sandbox and an S3 server with an empty bucket; logs go to `folder`."""
    with _running_sandbox(folder) as provider, running_storage() as storage:
        yield World(provider, storage)
