"""The main job, from the client's submit to the object in the bucket."""

from __future__ import annotations

import hashlib

from tests.world import World, txt2img


async def test_a_job_ends_with_its_image_in_the_bucket_and_its_digest_in_the_answer(world: World) -> None:
    job = await world.run()
    assert job["status"] == "succeeded"
    assert job["verified_by"] == "readback"
    [output] = job["outputs"]
    assert output["key"] == f"renders/{job['id']}/00.jpeg"
    assert world.keys() == [output["key"]]
    stored = world.s3.read(world.bucket, output["key"])
    assert hashlib.sha256(stored).hexdigest() == output["sha256"]
    assert len(stored) == output["bytes"]
    assert (output["width"], output["height"]) == (128, 128)


async def test_events_are_numbered_without_gaps_and_end_with_the_terminal_one(world: World) -> None:
    job = await world.run(input=txt2img(image_num=2))
    events = await world.events(job)
    assert [event["data"]["sequence"] for event in events] == list(range(1, len(events) + 1))
    assert [event["type"] for event in events] == [
        "job.queued",
        "job.submitted",
        "job.callback",
        "job.copying",
        "output.stored",
        "output.stored",
        "job.succeeded",
    ]
    assert events[-1]["data"]["job"] == job
