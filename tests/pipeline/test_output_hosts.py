"""Where outputs may come from while the settings don't say: from documented hosts, or from any where none is documented."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from service.demo.s3server import S3Server
from tests.world import World, running_world

NOVITA = "GENRELAY_PROVIDERS__NOVITA__"
ADDED = {
    NOVITA + "OPERATIONS__WAN_T2V__PATH": "/v3/async/wan-t2v",
    NOVITA + "OPERATIONS__WAN_T2V__OUTPUTS": "video",
    "GENRELAY_RECONCILE__FIRST_SECONDS": "0.3",
}
ANYWHERE = [
    {"operation": "seedream-4.0", "input": {"prompt": "a lighthouse", "size": "1024x1024"}},
    {"operation": "wan-t2v", "input": {"request": {"prompt": "a lighthouse"}}},
    {"provider": "modelslab", "operation": "text2img", "input": {"prompt": "a lighthouse", "model_id": "flux"}},
]


@pytest.fixture
async def unset(database_url: str, s3_server: S3Server, bucket: str) -> AsyncIterator[World]:
    """A world whose settings leave the hosts of Novita's outputs alone: an empty text is as good as none."""
    nothing = {NOVITA + "OUTPUT_HOSTS": ""}
    async with running_world(database_url, s3_server, bucket, **nothing, **ADDED) as running:
        yield running


@pytest.mark.parametrize("asked", ANYWHERE, ids=lambda asked: asked["operation"])
async def test_outputs_whose_host_nobody_documents_are_stored_from_anywhere(
    unset: World, asked: dict[str, Any]
) -> None:
    job = await unset.run(**asked)
    assert (job["status"], job["error"]) == ("succeeded", None)
    assert unset.keys() == [output["key"] for output in job["outputs"]]
    assert len(unset.keys()) == 1


async def test_outputs_whose_host_is_documented_are_fetched_from_there_alone(unset: World) -> None:
    job = await unset.run()
    assert (job["status"], job["error"]["code"]) == ("failed", "output_rejected")
    assert "OUTPUT_HOSTS" in job["error"]["hint"]
    assert unset.sandbox.tasks[job["provider_task_id"]].downloads.total() == 0
    assert unset.keys() == []


@pytest.mark.parametrize("asked", ANYWHERE[:2], ids=lambda asked: asked["operation"])
async def test_hosts_that_the_operator_names_hold_for_every_operation(
    database_url: str, s3_server: S3Server, bucket: str, asked: dict[str, Any]
) -> None:
    elsewhere = {NOVITA + "OUTPUT_HOSTS": "elsewhere.example"}
    async with running_world(database_url, s3_server, bucket, **elsewhere, **ADDED) as world:
        job = await world.run(**asked)
        assert (job["status"], job["error"]["code"]) == ("failed", "output_rejected")
        assert world.keys() == []
