"""ModelsLab's `track_id`: the customer's is the customer's, and ModelsLab is told one of ours."""

from __future__ import annotations

import pytest

from service.providers.modelslab import PROVIDER as MODELSLAB
from service.sandbox.modelslab.submissions import ModelsLabSubmission
from tests.world import World


@pytest.mark.parametrize(("said", "shown"), [("order-42", "order-42"), (42, "42"), (None, None)])
async def test_the_customer_sees_the_own_track_id_everywhere_and_modelslab_ours(
    world: World, said: str | int | None, shown: str | None
) -> None:
    example = {**MODELSLAB.operations["text2img"].example, "track_id": said}
    taken = await world.submit(provider="modelslab", operation="text2img", input=example)
    job = await world.end(taken)
    listed = (await world.client.get("/v1/jobs")).json()["data"]
    events = [event["data"]["job"] for event in await world.events(job)]
    assert job["status"] == "succeeded"
    assert len(events) > 3
    for each in (taken, job, *listed, *events):
        assert (each["id"], each["track_id"]) == (job["id"], shown)
    sent = world.sandbox.tasks[job["provider_task_id"]].submission
    assert isinstance(sent, ModelsLabSubmission)
    assert sent.track_id == f"{job['id']}-1"
    # Its answers and callbacks repeat what it was sent: the customer's word is nowhere among it.
    assert sent.meta["track_id"] == sent.track_id
    assert all(b"order-42" not in event.body for event in world.sandbox.callbacks_sent)


async def test_a_test_job_keeps_the_customers_track_id_too(world: World) -> None:
    example = {**MODELSLAB.operations["text2img"].example, "track_id": "order-42"}
    job = await world.run(
        provider="modelslab", operation="text2img", input=example, destination=None, test_mode={"enabled": True}
    )
    assert (job["status"], job["track_id"]) == ("succeeded", "order-42")
