"""A cancel in the middle stays a cancel, and what is retried afterwards is not paid for again."""

from __future__ import annotations

from service.ids import read
from tests.world import World, txt2img, until

PATIENT = "a lighthouse [fault:slow_image=0.5]"


async def until_stored(world: World, job: dict[str, object], count: int) -> None:
    async def look() -> bool:
        outputs: list[dict[str, object]] = (await world.job(job))["outputs"]
        return len([output for output in outputs if output["status"] == "stored"]) >= count

    await until(look)


async def until_idle(world: World) -> None:
    """Return once no task of the engine runs."""

    async def look() -> bool:
        return not world.service.context.nearby.busy

    await until(look)


async def test_a_cancel_during_the_copy_stays_a_cancel_and_what_is_stored_stays_listed(world: World) -> None:
    job = await world.submit(input=txt2img(PATIENT, image_num=6))  # four at a time
    await until_stored(world, job, 1)
    answer = await world.client.post(f"/v1/jobs/{job['id']}/cancel")
    assert answer.json()["status"] == "canceled"
    await until_idle(world)
    canceled = await world.job(job)
    assert canceled["status"] == "canceled"
    stored = [output["key"] for output in canceled["outputs"] if output["status"] == "stored"]
    assert 1 <= len(stored) < 6
    assert world.keys() == sorted(stored)
    events = await world.events(job)
    assert [event["type"] for event in events if event["type"].startswith("job.c")][-1] == "job.canceled"
    assert events[-1]["type"] == "job.canceled"

    again = await world.client.post(f"/v1/jobs/{job['id']}/retry")
    assert again.status_code == 202
    ended = await world.end(job)
    assert ended["status"] == "succeeded"
    assert world.keys() == sorted(output["key"] for output in ended["outputs"])
    assert len(world.sandbox.paid) == 1


async def test_a_canceled_submit_is_taken_up_by_retry_without_a_second_charge(world: World) -> None:
    job = await world.submit("a lighthouse [fault:hang=0.5]")
    await until(lambda: is_submitted(world))
    answer = await world.client.post(f"/v1/jobs/{job['id']}/cancel")
    assert answer.json()["status"] == "canceled"
    too_soon = await world.client.post(f"/v1/jobs/{job['id']}/retry")
    assert (too_soon.status_code, too_soon.json()["code"]) == (409, "second_charge")

    await until_idle(world)
    assert (await world.job(job))["status"] == "canceled"
    assert [event["type"] for event in await world.events(job)] == ["job.queued", "job.canceled"]
    assert (await world.client.post(f"/v1/jobs/{job['id']}/retry")).status_code == 202
    # Its callback is gone, so a poll or nothing brings it home.
    await world.service.pool.execute("UPDATE jobs SET due_at = now() WHERE id = $1", read("job", job["id"]))
    ended = await world.end(job)
    assert ended["status"] == "succeeded"
    assert len(world.sandbox.paid) == 1
    assert world.keys() == [output["key"] for output in ended["outputs"]]


async def is_submitted(world: World) -> bool:
    return len(world.sandbox.submits) == 1
