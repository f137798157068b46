"""`POST /v1/jobs`: what it takes, what it refuses, and that nothing of what it refuses is kept."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime
from typing import Any

from service.demo.s3server import S3Server
from service.providers.modelslab import PROVIDER as MODELSLAB
from tests.api.answers import paths_of, problem, rows_of_jobs
from tests.world import World, destination, job_body, running_world, txt2img

STORAGE_PATH = "input.extra.custom_storage.aws_s3"
FIELDS = {
    "id", "object", "status", "test", "provider", "operation", "provider_task_id", "provider_status", "progress",
    "verified_by", "outputs", "error", "metadata", "destination", "created_at", "submitted_at", "completed_at",
    "deadline_at", "links",
}  # fmt: skip


def storage(bucket: str, region: str = "us-east-1", path: str = "/shop//renders/", **more: Any) -> dict[str, Any]:
    """Return an `extra` whose custom storage names a bucket."""
    return {"custom_storage": {"aws_s3": {"region": region, "bucket": bucket, "path": path, **more}}}


def webhook(url: str = "https://consumer.example/in?token=7", **more: Any) -> dict[str, Any]:
    """Return an `extra` with webhook settings as Novita documents them."""
    return {"webhook": {"url": url, **more}}


def test_mode(status: str = "TASK_STATUS_SUCCEED", *, enabled: bool = True) -> dict[str, Any]:
    """Return an `extra` that asks for a test."""
    return webhook(test_mode={"enabled": enabled, "return_task_status": status})


test_mode.__test__ = False  # type: ignore[attr-defined]


async def test_a_job_is_accepted_with_its_address_and_every_field_of_the_contract(world: World) -> None:
    body = job_body(metadata={"order": "42"}, deadline_seconds=900, on_unclear="fail", webhook=None, test_mode=None)
    answer = await world.client.post("/v1/jobs", json=body)
    assert answer.status_code == 202
    job = answer.json()
    assert set(job) >= FIELDS
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}" == job["links"]["self"]
    assert job["id"].startswith("job_")
    assert (job["object"], job["status"], job["test"]) == ("job", "queued", False)
    assert (job["provider"], job["operation"], job["destination"]) == ("novita", "txt2img", "acme")
    assert job["metadata"] == {"order": "42"}
    assert job["outputs"] == []
    for name in (
        "provider_task_id",
        "provider_status",
        "progress",
        "verified_by",
        "error",
        "submitted_at",
        "completed_at",
    ):
        assert job[name] is None, name
    span = datetime.fromisoformat(job["deadline_at"]) - datetime.fromisoformat(job["created_at"])
    assert span.total_seconds() == 900
    assert {"self", "events", "cancel"} <= set(job["links"])
    ended = await world.end(job)
    assert set(ended) >= FIELDS
    assert (ended["status"], ended["progress"], ended["provider_status"]) == ("succeeded", 100, "TASK_STATUS_SUCCEED")
    assert ended["created_at"] <= ended["submitted_at"] <= ended["completed_at"] <= ended["deadline_at"]
    [output] = ended["outputs"]
    assert output["url"] == f"s3://{world.bucket}/{output['key']}"
    for link in ("self", "events", "callbacks"):
        assert (await world.client.get(ended["links"][link])).status_code == 200


async def test_the_deadline_is_an_hour_unless_told_otherwise(world: World) -> None:
    job = await world.submit()
    span = datetime.fromisoformat(job["deadline_at"]) - datetime.fromisoformat(job["created_at"])
    assert span.total_seconds() == 3600


async def test_every_mistake_is_told_at_once_by_its_path_and_nothing_is_kept_or_sent(world: World) -> None:
    before = await rows_of_jobs(world)
    body = {
        "provider": "novita",
        "operation": "txt2img",
        "destinatoin": "acme",
        "destination": "nowhere",
        "input": txt2img(width=64, sampler_name="euler a", colour="red", extra={"response_image_type": "jpg"}),
        "test_mode": {"enabled": False, "return_task_status": "SUCCEED"},
        "webhook": "ftp://consumer.example/hook",
        "webhook_events_filter": ["job.done"],
        "metadata": {"order": 42, "": "empty", "long": "x" * 513},
        "deadline_seconds": 29,
        "on_unclear": "pray",
    }
    answer = await world.client.post("/v1/jobs", json=body, headers={"Idempotency-Key": "refused"})
    told = {error["path"]: error for error in problem(answer, 422, "invalid_request")["errors"]}
    assert set(told) >= {
        "destinatoin",
        "destination",
        "input.request.width",
        "input.request.sampler_name",
        "input.request.colour",
        "input.extra.response_image_type",
        "test_mode.return_task_status",
        "webhook",
        "webhook_events_filter.0",
        "metadata.order",
        "metadata.long",
        "deadline_seconds",
        "on_unclear",
    }
    assert "destination" in told["destinatoin"]["rule"]
    assert told["input.request.width"] == {
        "path": "input.request.width",
        "rule": "must be at least 128",
        "got": "64",
        "detail": "input.request.width: must be at least 128 (got 64)",
    }
    assert "Value error" not in answer.text
    assert await rows_of_jobs(world) == before
    assert world.sandbox.submits == []
    # The refused request did not use its key up either.
    again = await world.client.post("/v1/jobs", json=job_body(), headers={"Idempotency-Key": "refused"})
    assert again.status_code == 202


async def test_each_rule_of_the_body_names_its_path(world: World) -> None:
    before = await rows_of_jobs(world)
    cases: list[tuple[Any, set[str]]] = [
        ({}, {"provider", "operation", "input", "destination"}),
        ([], {"body"}),
        ("job", {"body"}),
        (None, {"body"}),
        (7, {"body"}),
        (job_body(provider="midjourney"), {"provider"}),
        (job_body(provider=None), {"provider"}),
        (job_body(operation="txt2vid"), {"operation"}),
        (job_body(operation=["txt2img"]), {"operation"}),
        (job_body(input=None), {"input"}),
        (job_body(input="txt2img"), {"input"}),
        (job_body(destination=None), {"destination"}),
        (job_body(destination="unknown"), {"destination"}),
        (job_body(destination="../acme"), {"destination"}),
        (job_body(destination="x" * 65), {"destination"}),
        (job_body(destination=7), {"destination"}),
        (job_body(deadline_seconds=86_401), {"deadline_seconds"}),
        (job_body(deadline_seconds=30.5), {"deadline_seconds"}),
        (job_body(deadline_seconds=True), {"deadline_seconds"}),
        (job_body(deadline_seconds=10**400), {"deadline_seconds"}),
        (job_body(test_mode=True), {"test_mode"}),
        (job_body(test_mode={}), {"test_mode.enabled"}),
        (job_body(metadata={f"key-{n}": "" for n in range(51)}), {"metadata"}),
        (job_body(metadata=[]), {"metadata"}),
        (job_body(webhook="https://"), {"webhook"}),
        (job_body(webhook="https://user name@consumer.example"), {"webhook"}),
        (job_body(webhook="https://consumer.example/" + "x" * 2048), {"webhook"}),
        (job_body(webhook_events_filter="job.succeeded"), {"webhook_events_filter"}),
        (job_body(input=txt2img(extra=webhook("consumer.example"))), {"input.extra.webhook.url"}),
    ]
    for body, paths in cases:
        answer = await world.client.post("/v1/jobs", content=json.dumps(body))
        assert paths_of(answer) == paths, (body, answer.text)
    assert await rows_of_jobs(world) == before
    assert world.sandbox.submits == []


async def test_a_job_that_is_a_test_in_either_place_needs_no_destination_and_stores_nothing(world: World) -> None:
    for body in (
        job_body(destination=None, test_mode={"enabled": True}),
        job_body(destination=None, input=txt2img(extra=test_mode())),
        job_body(test_mode={"enabled": True}, input=txt2img(extra=test_mode())),
        job_body(test_mode=None, input=txt2img(extra=test_mode())),
    ):
        job = await world.run(**{**body, "prompt": ""})
        assert (job["status"], job["test"], job["verified_by"]) == ("succeeded", True, "token")
        assert [output["status"] for output in job["outputs"]] == ["mock"]
    assert world.keys() == []
    assert world.sandbox.paid == []


async def test_a_test_ends_with_the_status_it_asks_for_in_either_place(world: World) -> None:
    failed = "TASK_STATUS_FAILED"
    outer = await world.run(test_mode={"enabled": True, "return_task_status": failed})
    inner = await world.run(input=txt2img(extra=test_mode(failed)))
    both = await world.run(test_mode={"enabled": True}, input=txt2img(extra=test_mode(failed)))
    for job in (outer, inner, both):
        assert (job["status"], job["error"]["code"]) == ("failed", "provider_failed"), job


async def test_what_the_two_places_say_must_not_contradict(world: World) -> None:
    before = await rows_of_jobs(world)
    success, failure = "TASK_STATUS_SUCCEED", "TASK_STATUS_FAILED"
    for body, path in (
        (job_body(test_mode={"enabled": False}, input=txt2img(extra=test_mode())), "test_mode.enabled"),
        (job_body(test_mode={"enabled": True}, input=txt2img(extra=test_mode(enabled=False))), "test_mode.enabled"),
        (
            job_body(
                test_mode={"enabled": True, "return_task_status": success}, input=txt2img(extra=test_mode(failure))
            ),
            "test_mode.return_task_status",
        ),
        (job_body(webhook="https://other.example/hook", input=txt2img(extra=webhook())), "webhook"),
    ):
        assert paths_of(await world.client.post("/v1/jobs", json=body)) == {path}
    both = job_body(webhook="https://a.example", deadline_seconds=1, input=txt2img(extra=test_mode(enabled=False)))
    assert paths_of(await world.client.post("/v1/jobs", json=both)) == {"webhook", "deadline_seconds"}
    assert await rows_of_jobs(world) == before


async def test_the_same_webhook_in_both_places_is_taken_and_never_shown_to_the_provider(world: World) -> None:
    url = "https://consumer.example/in?token=7"
    job = await world.run(webhook=url, input=txt2img(extra=webhook(url)))
    assert job["status"] == "succeeded"
    stored = await world.service.pool.fetchval("SELECT webhook FROM jobs")
    assert stored == url
    assert world.callback_url(job).startswith(f"{world.url}/v1/callbacks/novita/")


async def test_custom_storage_means_the_named_destination_if_it_has_that_bucket(world: World) -> None:
    body = job_body(input=txt2img(extra=storage(world.bucket, region="eu-west-1", save_to_path_directly=True)))
    job = await world.run(**{**body, "prompt": ""})
    assert job["destination"] == "acme"
    assert job["outputs"][0]["key"] == f"shop/renders/{job['id']}-00.jpeg"
    assert world.keys() == [f"shop/renders/{job['id']}-00.jpeg"]


async def test_custom_storage_without_a_name_means_the_only_destination_with_its_bucket_and_region(
    world: World,
) -> None:
    direct = destination(world.s3, world.bucket, save_to_path_directly=True, path="beaten")
    assert (await world.client.put("/v1/destinations/acme?check=false", json=direct)).status_code == 200
    job = await world.run(destination=None, input=txt2img(extra=storage(world.bucket)))
    assert job["destination"] == "acme"
    assert job["outputs"][0]["key"] == f"shop/renders/{job['id']}/00.jpeg"
    other = await world.run(input=txt2img())
    assert other["outputs"][0]["key"] == f"beaten/{other['id']}-00.jpeg"
    # A destination of another bucket is named: the bucket's own one is meant all the same.
    elsewhere = destination(world.s3, "another-bucket")
    assert (await world.client.put("/v1/destinations/elsewhere?check=false", json=elsewhere)).status_code == 201
    job = await world.run(destination="elsewhere", input=txt2img(extra=storage(world.bucket)))
    assert job["destination"] == "acme"


async def test_custom_storage_that_names_no_destination_or_several_is_refused(world: World) -> None:
    before = await rows_of_jobs(world)
    for extra, name, paths in (
        (storage("unknown-bucket"), None, {f"{STORAGE_PATH}.bucket"}),
        (storage("unknown-bucket"), "acme", {f"{STORAGE_PATH}.bucket"}),
        (storage(world.bucket, region="eu-west-1"), None, {f"{STORAGE_PATH}.bucket"}),
        (storage(world.bucket), "unknown", {"destination"}),
        (storage(world.bucket, path="a/../b"), None, {f"{STORAGE_PATH}.path"}),
        (storage("unknown-bucket", path="a/../b"), None, {f"{STORAGE_PATH}.bucket", f"{STORAGE_PATH}.path"}),
    ):
        answer = await world.client.post("/v1/jobs", json=job_body(destination=name, input=txt2img(extra=extra)))
        assert paths_of(answer) == paths
    assert (
        await world.client.put("/v1/destinations/twin?check=false", json=destination(world.s3, world.bucket))
    ).status_code == 201
    answer = await world.client.post(
        "/v1/jobs", json=job_body(destination=None, input=txt2img(extra=storage(world.bucket)))
    )
    assert paths_of(answer) == {f"{STORAGE_PATH}.bucket"}
    # A stranger's destination is none, whatever its bucket.
    strangers = job_body(destination=None, input=txt2img(extra=storage(world.bucket)))
    assert paths_of(await world.stranger.post("/v1/jobs", json=strangers)) == {f"{STORAGE_PATH}.bucket"}
    assert paths_of(await world.stranger.post("/v1/jobs", json=job_body())) == {"destination"}
    assert await rows_of_jobs(world) == before


async def test_a_key_inside_the_input_is_dropped_and_never_kept(world: World) -> None:
    secret = "sk-habit-from-another-api"
    job = await world.run(input={**txt2img(prompt="a lighthouse [fault:failed]"), "key": secret})
    assert job["status"] == "failed"
    pool = world.service.pool
    for table in [
        row["tablename"] for row in await pool.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    ]:
        for row in await pool.fetch(f"SELECT * FROM {table}"):
            assert secret not in repr(dict(row)), table
            assert secret.encode() not in b"".join(value for value in row.values() if isinstance(value, bytes)), table


async def test_a_provider_without_our_key_is_refused_but_for_mocks_of_our_own(
    database_url: str, s3_server: S3Server, bucket: str
) -> None:
    async with running_world(database_url, s3_server, bucket, GENRELAY_PROVIDERS__MODELSLAB__API_KEY="") as world:
        providers = (await world.client.get("/v1/providers")).json()["data"]
        assert {provider["name"]: provider["available"] for provider in providers} == {
            "novita": True,
            "modelslab": False,
        }
        example = MODELSLAB.operations["text2img"].example
        body = job_body(provider="modelslab", operation="text2img", input=example)
        assert paths_of(await world.client.post("/v1/jobs", json=body)) == {"provider"}
        mock = await world.client.post("/v1/jobs", json={**body, "test_mode": {"enabled": True}})
        assert mock.status_code == 202
        assert (await world.end(mock.json()))["status"] == "succeeded"


async def test_many_clients_at_once_get_a_job_each(world: World) -> None:
    answers = await asyncio.gather(
        *(world.client.post("/v1/jobs", json=job_body(test_mode={"enabled": True})) for _ in range(40))
    )
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 40
    ended = await asyncio.gather(*(world.end(answer.json()) for answer in answers))
    assert {job["status"] for job in ended} == {"succeeded"}
