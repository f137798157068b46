"""Processes that end in the middle of a delivery: what they had is delivered all the same, with the same id."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from pathlib import Path

import pytest

from service.demo.s3server import S3Server
from tests.chaos.ground import ground
from tests.receiver import Receiver
from tests.world import until

# A lease of ten seconds and a little.
QUICK = {"GENRELAY_DELIVERY__TIMEOUT_SECONDS": "0.5", "GENRELAY_DELIVERY__RETRY_SCHEDULE": "0.1,0.1,0.1"}
TEST = {"test_mode": {"enabled": True, "return_task_status": "TASK_STATUS_SUCCEED"}}


@pytest.mark.parametrize("point", ["delivery.claimed", "delivery.sent"])
async def test_a_worker_killed_around_a_send_has_it_delivered_by_another(
    point: str, database_url: str, s3_server: S3Server, tmp_path: Path, receiver: Receiver
) -> None:
    async with ground(database_url, s3_server, tmp_path, **QUICK) as on, on.process("api"):
        async with on.worker(GENRELAY_CRASH_AT=point) as doomed:
            job = await on.submit(webhook=receiver.url + "/hooks", **TEST)
            await doomed.ended()
        async with on.worker():
            await on.end(job)

            async def all_there() -> bool:
                return (await on.job(job))["deliveries"]["pending"] == 0

            await until(all_there, 40)
        [row] = await on.fetch(
            "SELECT count(*) FILTER (WHERE status = 'delivered') AS done, count(*) AS all FROM deliveries"
        )
        events = await on.fetch("SELECT id FROM events")
        assert row["done"] == row["all"] == len(events)
        came = Counter(each.id for each in receiver.arrivals)
        assert len(came) == len(events)
        bodies = {(each.id, each.body) for each in receiver.arrivals}
        assert len(bodies) == len(events), "the same bytes again"
        assert sum(came.values()) >= len(events) + (1 if point == "delivery.sent" else 0)


async def test_sigterm_finishes_what_is_under_way(
    database_url: str, s3_server: S3Server, tmp_path: Path, receiver: Receiver
) -> None:
    url = receiver.plan("/slow", hang=True)
    async with (
        ground(database_url, s3_server, tmp_path, GENRELAY_DELIVERY__TIMEOUT_SECONDS="30") as on,
        on.process("api"),
        on.worker() as worker,
    ):
        await on.submit(webhook=url, webhook_events_filter=["job.queued"], **TEST)
        await receiver.until(1)
        worker.send(signal.SIGTERM)

        async def draining() -> bool:
            return worker.said("service.draining") > 0

        await until(draining)
        await asyncio.sleep(0)
        receiver.release()
        assert await worker.ended() == 0
        [row] = await on.fetch("SELECT * FROM deliveries")
        # The receiver hung up without an answer: that is a failure, recorded before the process ended.
        assert (row["attempts"], row["worker_id"], row["status"]) == (1, None, "pending")
        [attempt] = await on.fetch("SELECT * FROM delivery_attempts")
        assert attempt["outcome"] == "failed"
