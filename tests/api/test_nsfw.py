"""What a provider says about unsafe pictures reaches the customer, in the provider's own words."""

from __future__ import annotations

from typing import Any

import pytest

from service.demo.s3server import S3Server
from tests.world import World, running_world, txt2img

REALTIME = "GENRELAY_PROVIDERS__MODELSLAB__OPERATIONS__REALTIME_TEXT2IMG__"


async def _shown(world: World, job: dict[str, Any]) -> list[Any]:
    """Return what the job and its last event say about each output."""
    ended = (await world.events(job))[-1]["data"]["job"]
    assert ended["outputs"] == job["outputs"]
    assert [output["status"] for output in job["outputs"]] == ["stored"] * len(job["outputs"])
    return [output["nsfw"] for output in job["outputs"]]


@pytest.mark.parametrize(
    ("extra", "nsfw"),
    [
        ({"enable_nsfw_detection": True, "nsfw_detection_level": 2}, {"valid": True, "confidence": 0}),
        ({"enable_nsfw_detection": False}, None),
        ({}, None),
    ],
)
async def test_novitas_detection_is_shown_with_each_output_if_it_was_asked_for(
    world: World, extra: dict[str, Any], nsfw: dict[str, Any] | None
) -> None:
    job = await world.run(input=txt2img(image_num=2, extra=extra))
    assert await _shown(world, job) == [nsfw, nsfw]


async def test_modelslabs_flag_is_shown_with_the_output(database_url: str, s3_server: S3Server, bucket: str) -> None:
    more = {REALTIME + "PATH": "/api/v1/enterprise/realtime/text2img"}
    async with running_world(database_url, s3_server, bucket, **more) as world:
        realtime = {"provider": "modelslab", "operation": "realtime-text2img", "input": {"prompt": "a lake"}}
        assert await _shown(world, await world.run(**realtime)) == [{"nsfw_content_detected": False}]
        # The endpoint without a product says nothing about it.
        plain = {"provider": "modelslab", "operation": "text2img", "input": {"prompt": "a lake", "model_id": "flux"}}
        assert await _shown(world, await world.run(**plain)) == [None]
