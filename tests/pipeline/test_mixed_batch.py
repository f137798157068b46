"""A mixed batch with workers at work: good jobs, bad ones and odd ones at the same time, each with its right end."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

from service.demo.s3server import S3Server
from tests.world import World, running_world

QUICK = {"GENRELAY_RECONCILE__FIRST_SECONDS": "0.5", "GENRELAY_SUBMIT__UNKNOWN_SECONDS": "2"}
TEST_MODE = {"enabled": True, "return_task_status": "TASK_STATUS_FAILED"}

# prompt's faults, further fields, how it ends, how often it is paid for
BATCH: list[tuple[str, dict[str, Any], str, int]] = [
    ("", {}, "succeeded", 1),
    ("[fault:more_images]", {}, "succeeded", 1),
    ("[fault:lost]", {}, "succeeded", 1),
    ("[fault:duplicated] [fault:reordered]", {}, "succeeded", 1),
    ("[fault:early]", {}, "succeeded", 1),
    ("[fault:forged] [fault:forged_failure]", {}, "succeeded", 1),
    ("[fault:malformed] [fault:foreign] [fault:unknown_event]", {}, "succeeded", 1),
    ("[fault:429=2]", {}, "succeeded", 1),
    ("[fault:500_after]", {}, "succeeded", 1),
    ("[fault:lookup_500=2]", {}, "succeeded", 1),
    ("[fault:no_outputs_once]", {}, "succeeded", 1),
    ("[fault:expired]", {}, "succeeded", 1),
    ("[fault:truncated=1]", {}, "succeeded", 1),
    ("[fault:mislabeled]", {}, "succeeded", 1),
    ("[fault:failed]", {}, "provider_failed", 1),
    ("[fault:400]", {}, "provider_rejected", 0),
    ("[fault:500_after] [fault:no_echo]", {}, "submit_unknown", 1),
    ("[fault:no_outputs]", {}, "no_outputs", 1),
    ("[fault:wrong_type]", {}, "output_rejected", 1),
    ("[fault:private_url]", {}, "output_rejected", 1),
    ("", {"test_mode": {"enabled": True}}, "succeeded", 0),
    ("", {"test_mode": TEST_MODE}, "provider_failed", 0),
]


async def _run(world: World, number: int) -> None:
    faults, more, wanted, paid = BATCH[number]
    job = await world.run(f"lighthouse number {number} {faults}", **more)
    assert (job["error"] or {"code": job["status"]})["code"] == wanted, f"{faults}: {job}"
    events = await world.events(job)
    assert [event["data"]["sequence"] for event in events] == list(range(1, len(events) + 1))
    assert events[-1]["type"] == f"job.{job['status']}"
    assert events[-1]["data"]["job"] == job
    mine = [submit for submit in world.sandbox.paid if f"number {number} " in submit.prompt]
    assert len(mine) == paid, faults
    for output in job["outputs"]:
        if output["status"] == "stored":
            stored = world.s3.read(world.bucket, output["key"])
            assert hashlib.sha256(stored).hexdigest() == output["sha256"]


async def test_every_job_of_a_mixed_batch_has_its_right_end(
    database_url: str, s3_server: S3Server, bucket: str
) -> None:
    async with running_world(database_url, s3_server, bucket, **QUICK) as world:
        await asyncio.gather(*(_run(world, number) for number in range(len(BATCH))))
        good = [entry for entry in BATCH if entry[2] == "succeeded" and not entry[1]]
        assert len(world.keys()) == len(good) + 1, "one object per output, and one job has two"
