"""A whole world in a process of its own, behind a fence, for tests that speak HTTP without an event loop.

In a thread it would use the same random numbers as the test, which hypothesis forbids.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from config.logging import set_up_logging
from service.db.embedded import EmbeddedServer
from service.demo.s3server import S3Server
from tests.database import fresh_database
from tests.openapi.fence import build_fence
from tests.world import World, destination, running_world

NOBODY = "http://127.0.0.1:9"  # where nobody listens
_STARTS = multiprocessing.get_context("spawn")
_START_SECONDS = 60


@dataclass(frozen=True)
class Served:
    """A service that answers at `url`, and ids of what is there, by the names of their lists."""

    url: str
    s3: S3Server
    ids: dict[str, list[str]]


@contextmanager
def served_world(postgres: EmbeddedServer, s3: S3Server, bucket: str, log: Path) -> Iterator[Served]:
    """Run a world until the end of the block. log: the file that it writes to."""
    with asyncio.Runner() as runner:
        database = fresh_database(postgres)
        url = runner.run(database.__aenter__())
        try:
            with _process(url, s3, bucket, log) as served:
                yield served
        finally:
            runner.run(database.__aexit__(None, None, None))


@contextmanager
def _process(database_url: str, s3: S3Server, bucket: str, log: Path) -> Iterator[Served]:
    ours, theirs = _STARTS.Pipe()
    process = _STARTS.Process(target=_serve, args=(database_url, s3, bucket, str(log), theirs), daemon=True)
    process.start()
    try:
        assert ours.poll(_START_SECONDS), log.read_text(encoding="utf-8")[-2000:]
        served: Served = ours.recv()
        yield served
        assert process.is_alive(), log.read_text(encoding="utf-8")[-2000:]
        ours.send("end")
        process.join(30)
    finally:
        process.kill()
        process.join()


def _serve(database_url: str, s3: S3Server, bucket: str, log: str, told: Connection) -> None:
    """Be the service: what the process does from its first moment on."""
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(out, 1)
    os.dup2(out, 2)
    build_fence()
    set_up_logging("INFO", "json")
    asyncio.run(_run(database_url, s3, bucket, told))


async def _run(database_url: str, s3: S3Server, bucket: str, told: Connection) -> None:
    async with running_world(database_url, s3, bucket) as world:
        told.send(Served(world.url, s3, await make_things(world)))
        with contextlib.suppress(EOFError):
            await asyncio.to_thread(told.recv)


async def make_things(world: World) -> dict[str, list[str]]:
    """Make jobs of several kinds, subscriptions and deliveries; returns their ids by the names of their lists."""
    webhook = {"webhook": f"{NOBODY}/hooks"}
    jobs = [
        await world.run(),
        await world.run(test_mode={"enabled": True}, destination=None),
        await world.run(test_mode={"enabled": True, "return_task_status": "TASK_STATUS_FAILED"}, **webhook),
    ]
    bodies: list[dict[str, Any]] = [{"url": NOBODY}, {"sink": queue(), "payload": "thin"}]
    subscriptions = [(await world.client.post("/v1/subscriptions", json=body)).json() for body in bodies]
    other = destination(world.s3, world.bucket, path="other")
    await world.client.put("/v1/destinations/other?check=false", json=other)
    await world.client.post(f"/v1/jobs/{jobs[0]['id']}/copy", json={"destination": "other"})
    deliveries = (await world.client.get("/v1/deliveries")).json()["data"]
    events = (await world.client.get("/v1/events")).json()["data"]
    found = {"jobs": jobs, "subscriptions": subscriptions, "deliveries": deliveries, "events": events}
    return {name: [each["id"] for each in things] for name, things in found.items()}


def queue() -> dict[str, Any]:
    """Return a sink at an address of this machine where nobody listens."""
    return {
        "type": "sqs",
        "queue_url": f"{NOBODY}/123456789012/renders",
        "region": "eu-central-1",
        "endpoint_url": NOBODY,
        "auth": {"type": "access_key", "access_key_id": "AKIAIOSFODNN7EXAMPLE", "secret_access_key": "not-a-real-one"},
    }
