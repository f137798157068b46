"""Test mode for everyone: the provider's own where it has one, else a mock of ours over the network."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.demo.s3server import S3Server
from service.providers.registry import PROVIDERS
from tests.api.answers import count, paths_of
from tests.engine.driven import Driven, driven_world, event
from tests.world import World, free_port, job_body

OPERATIONS = [(name, operation) for name, provider in PROVIDERS.items() for operation in provider.operations]
STATUSES = {"TASK_STATUS_SUCCEED": "succeeded", "TASK_STATUS_FAILED": "failed"}


def test_job(provider: str, operation: str, status: str = "TASK_STATUS_SUCCEED") -> dict[str, Any]:
    """Return what makes a job a test of an operation."""
    example = PROVIDERS[provider].operations[operation].example
    mode = {"enabled": True, "return_task_status": status}
    return {"provider": provider, "operation": operation, "input": example, "test_mode": mode, "destination": None}


test_job.__test__ = False  # type: ignore[attr-defined]


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize(("provider", "operation"), OPERATIONS)
async def test_every_operation_has_a_test_mode(world: World, provider: str, operation: str, status: str) -> None:
    job = await world.run(**test_job(provider, operation, status))
    assert (job["status"], job["test"], job["verified_by"]) == (STATUSES[status], True, "token")
    assert await world.verdicts(job) == ["mock"]
    assert all(output["status"] == "mock" for output in job["outputs"])
    assert bool(job["outputs"]) is (status == "TASK_STATUS_SUCCEED")
    assert world.keys() == []
    assert world.sandbox.paid == []
    assert all(said["data"]["job"]["test"] for said in await world.events(job))
    listed = await world.client.get("/v1/jobs", params={"test": "false"})
    assert listed.json()["data"] == []


async def test_a_mock_of_ours_needs_no_key_at_the_provider(database_url: str, s3_server: S3Server, bucket: str) -> None:
    nothing = {"GENRELAY_PROVIDERS__NOVITA__API_KEY": ""}
    async with driven_world(database_url, s3_server, bucket, **nothing) as driven:
        job = await driven.drive(await driven.submit(**test_job("novita", "seedream-4.0")))
        assert job["status"] == "succeeded"
        assert driven.sandbox.submits == []
        native = await driven.client.post("/v1/jobs", json=test_job("novita", "txt2img"))
        assert native.status_code == 422


async def test_a_mock_that_can_not_be_posted_says_so_in_the_end(
    database_url: str, s3_server: S3Server, bucket: str
) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    async with driven_world(database_url, s3_server, bucket, GENRELAY_PUBLIC_URL=nobody) as driven:
        job = await driven.drive(await driven.submit(**test_job("novita", "seedream-4.5")))
        assert (job["status"], job["error"]["code"]) == ("failed", "provider_unavailable")
        assert "GENRELAY_PUBLIC_URL" in job["error"]["message"]
        assert "check-webhook" in job["error"]["hint"]
        assert driven.sandbox.submits == []


async def test_a_mock_is_not_believed_for_a_job_that_is_no_test(driven: Driven) -> None:
    job = await driven.sent("a lighthouse [fault:held]")
    mock = json.loads(event(job["provider_task_id"]))
    mock["payload"]["images"] = [{"image_url": f"{driven.sandbox_url}/test_data/image_01.jpeg"}]
    await driven.post(job, json.dumps(mock).encode())
    job = await driven.settle(job)
    assert (job["status"], job["verified_by"], job["outputs"]) == ("running", None, [])
    assert await driven.verdicts(job) == ["contradicted"]


async def test_without_a_public_url_no_operation_can_be_tested(
    database_url: str, s3_server: S3Server, bucket: str
) -> None:
    async with driven_world(database_url, s3_server, bucket, GENRELAY_PUBLIC_URL="") as driven:
        for provider, operation in OPERATIONS:
            for status in STATUSES:
                answer = await driven.client.post("/v1/jobs", json=test_job(provider, operation, status))
                assert paths_of(answer) == {"test_mode"}, (provider, operation)
                [error] = answer.json()["errors"]
                assert "GENRELAY_PUBLIC_URL" in error["rule"]
        assert await count(driven, "jobs") == 0
        assert driven.sandbox.submits == []
        # Paid jobs are polled then.
        assert (await driven.client.post("/v1/jobs", json=job_body())).status_code == 202


async def test_test_jobs_are_counted_apart(driven: Driven) -> None:
    counted = ("genrelay_jobs_created", "genrelay_submits", "genrelay_jobs_ended")
    before = await _counts(driven)
    for kind in ("false", "true"):
        asked = test_job("novita", "txt2img") if kind == "true" else {}
        job = await driven.drive(await driven.submit(**asked))
        assert (job["status"], job["test"]) == ("succeeded", kind == "true")
        after = await _counts(driven)
        assert after - before == Counter({(name, kind): 1 for name in counted})
        before = after


async def _counts(driven: Driven) -> Counter[tuple[str, str]]:
    """Return what is counted of Novita's txt2img under each value of the label `test`, whatever the other labels say."""
    counts: Counter[tuple[str, str]] = Counter()
    for family in text_string_to_metric_families((await driven.client.get("/metrics")).text):
        for sample in family.samples:
            where = (sample.labels.get("provider"), sample.labels.get("operation"))
            if "test" in sample.labels and sample.name.endswith("_total") and where == ("novita", "txt2img"):
                counts[family.name, sample.labels["test"]] += int(sample.value)
    return counts
