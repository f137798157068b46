"""`webhook_payload: provider`: the customer's receiver gets what the provider itself would have sent."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from novita_client.proto import V3TaskResponse, V3TaskResponseStatus

from service.engine.housekeeping import keep_house
from service.engine.receivers import provider_body
from service.ids import read
from service.providers.registry import PROVIDERS
from tests.engine.test_mocks import OPERATIONS, test_job
from tests.world import World, until

HOOK = "http://127.0.0.1:9/hooks?token=of-the-customer"
CALLED_BACK = [each for each in OPERATIONS if PROVIDERS[each[0]].operations[each[1]].takes_webhook]
# upscale has no prompt to ask the sandbox for a fault with.
FALLIBLE = [each for each in CALLED_BACK if each[1] != "upscale"]
SILENT = [each for each in OPERATIONS if each not in CALLED_BACK]


def asked(provider: str, operation: str, mark: str = "", **more: Any) -> dict[str, Any]:
    """Return a job of an operation's example that a receiver of the provider's own shape waits for."""
    given = json.loads(json.dumps(PROVIDERS[provider].operations[operation].example))
    inner = given.get("request", given)
    if provider == "modelslab":
        given["track_id"] = "order-42"  # we send one in any case, and it is echoed
    if mark:
        inner["prompt"] = f"{inner.get('prompt', '')} {mark}".strip()
    job = {"provider": provider, "operation": operation, "input": given}
    return {**job, "destination": "acme", "webhook": HOOK, "webhook_payload": "provider", **more}


async def ended(world: World, body: dict[str, Any]) -> dict[str, Any]:
    answer = await world.client.post("/v1/jobs", json=body)
    assert answer.status_code == 202, answer.text
    return await world.end(answer.json())


async def sent_for(world: World, job: dict[str, Any]) -> Any:
    """Return what is sent for the event with which a job ended; None when it is nothing."""
    event = await world.service.pool.fetchrow(
        "SELECT * FROM events WHERE job_id = $1 ORDER BY sequence DESC LIMIT 1", read("job", job["id"])
    )
    assert event is not None
    made = await provider_body(world.service.context)(event["job_id"], dict(event))
    if made is None:
        return None
    assert made[1] == {"content-type": "application/json"}
    return json.loads(made[0])


async def sandboxes_own(world: World, job: dict[str, Any]) -> Any:
    """Return the callback that the sandbox sent for a job."""

    async def sent() -> list[Any]:
        task_id = job["provider_task_id"]
        return [json.loads(each.body) for each in world.sandbox.callbacks_sent if each.task_id == task_id]

    return (await until(sent))[-1]


def shape_of(value: Any) -> Any:
    """Return names and types; the seed is left out, which only the provider knows when it was left to it."""
    if isinstance(value, dict):
        return {name: shape_of(part) for name, part in value.items() if name != "seed"}
    if isinstance(value, list):
        return [shape_of(part) for part in value]
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__


def urls_in(said: Any) -> list[str]:
    if "event_type" not in said:
        return list(said["output"])
    return [image["image_url"] for image in said["payload"]["images"]]


@pytest.mark.parametrize(("provider", "operation"), CALLED_BACK)
async def test_a_receiver_gets_the_providers_own_keys_and_types(world: World, provider: str, operation: str) -> None:
    job = await ended(world, asked(provider, operation))
    assert job["status"] == "succeeded"
    said, own = await sent_for(world, job), await sandboxes_own(world, job)
    assert shape_of(said) == shape_of(own)
    assert PROVIDERS[provider].read_callback(json.dumps(said).encode()).task_id == job["provider_task_id"]
    assert HOOK in json.dumps(said)
    await assert_links_lead_to_the_stored_files(job, urls_in(said))
    nothing_of_ours = json.dumps(said)
    assert "/v1/callbacks/" not in nothing_of_ours
    assert "sandbox-key" not in nothing_of_ours


async def assert_links_lead_to_the_stored_files(job: dict[str, Any], urls: list[str]) -> None:
    assert len(urls) == len(job["outputs"])
    async with httpx.AsyncClient(trust_env=False) as client:
        for url, output in zip(urls, job["outputs"], strict=True):
            got = await client.get(url)
            assert (got.status_code, len(got.content)) == (200, output["bytes"])


@pytest.mark.parametrize(("provider", "operation"), FALLIBLE)
async def test_a_failure_has_the_providers_own_keys_and_words(world: World, provider: str, operation: str) -> None:
    job = await ended(world, asked(provider, operation, "[fault:failed]"))
    assert (job["status"], job["error"]["code"]) == ("failed", "provider_failed")
    said, own = await sent_for(world, job), await sandboxes_own(world, job)
    assert shape_of(said) == shape_of(own)
    words = said["message"] if provider == "modelslab" else said["payload"]["task"]["reason"]
    assert words == job["error"]["provider"]["message"]


@pytest.mark.parametrize("status", ["TASK_STATUS_SUCCEED", "TASK_STATUS_FAILED"])
@pytest.mark.parametrize(("provider", "operation"), OPERATIONS)
async def test_a_test_job_gets_the_mock_that_its_provider_would_send(
    world: World, provider: str, operation: str, status: str
) -> None:
    job = await ended(world, {**test_job(provider, operation, status), "webhook": HOOK, "webhook_payload": "provider"})
    said = await sent_for(world, job)
    kept = await world.service.pool.fetchval("SELECT body FROM callbacks WHERE job_id = $1", read("job", job["id"]))
    mock = json.loads(kept)
    if provider == "modelslab":
        assert said == {**mock, "track_id": None}
        return
    if PROVIDERS[provider].operations[operation].native_test_mode:
        assert shape_of(said) == shape_of(mock)
        assert all("/test_data/" in url for url in urls_in(said))
        return
    mock["payload"]["extra"]["webhook"]["url"] = HOOK
    assert said == mock


@pytest.mark.parametrize(("provider", "operation"), SILENT)
async def test_an_operation_without_webhooks_is_told_in_its_providers_shape(
    world: World, provider: str, operation: str
) -> None:
    job = await ended(world, asked(provider, operation))
    assert job["status"] == "succeeded", job["error"]
    said = await sent_for(world, job)
    known = await ended(world, asked("novita", "txt2img"))
    assert shape_of({**said["payload"], "images": []}) == shape_of(
        {**(await sandboxes_own(world, known))["payload"], "images": []}
    )
    assert said["payload"]["task"]["task_id"] == job["id"]
    await assert_links_lead_to_the_stored_files(job, urls_in(said))


async def test_novitas_official_client_reads_what_is_sent_for_its_operations_and_for_seedream(world: World) -> None:
    for operation in ("txt2img", "seedream-4.0"):
        job = await ended(world, asked("novita", operation))
        said = V3TaskResponse.from_dict((await sent_for(world, job))["payload"])
        assert said.task.status == V3TaskResponseStatus.TASK_STATUS_SUCCEED
        assert [image.image_type for image in said.images] == [suffix(output) for output in job["outputs"]]


def suffix(output: dict[str, Any]) -> str:
    return str(output["media_type"]).rpartition("/")[2]


async def test_a_webhook_inside_of_the_providers_own_body_is_answered_in_its_words(world: World) -> None:
    modelslab = asked("modelslab", "text2img", webhook=None)
    modelslab["input"] |= {"webhook": HOOK}
    novita = asked("novita", "txt2img", webhook=None)
    novita["input"]["extra"] = {"webhook": {"url": HOOK}}
    one, other = await sent_for(world, await ended(world, modelslab)), await sent_for(world, await ended(world, novita))
    assert (one["track_id"], one["meta"]["webhook"], one["meta"]["track_id"]) == ("order-42", HOOK, "order-42")
    assert other["payload"]["extra"]["webhook"] == {"url": HOOK}


async def test_a_refused_request_has_modelslabs_error_body_and_novitas_failed_task(world: World) -> None:
    refused = await ended(world, asked("modelslab", "text2img", "[fault:400]", metadata={}))
    said = await sent_for(world, refused)
    assert refused["error"]["code"] == "provider_rejected"
    assert said == {
        "status": "error",
        "id": "",
        "message": "The prompt contains content that is not allowed",
        "track_id": "order-42",
    }
    refused = await ended(world, asked("novita", "txt2img", "[fault:400]"))
    task = (await sent_for(world, refused))["payload"]["task"]
    assert (task["status"], task["task_id"]) == ("TASK_STATUS_FAILED", refused["id"])
    assert task["reason"] == "the prompt is not allowed"


async def test_outputs_of_a_deleted_destination_are_left_out(world: World) -> None:
    job = await ended(world, asked("novita", "txt2img"))
    assert (await world.client.delete("/v1/destinations/acme")).status_code == 204
    said = await sent_for(world, job)
    assert said["payload"]["task"]["status"] == "TASK_STATUS_SUCCEED"
    assert said["payload"]["images"] == []


async def test_only_the_end_of_a_run_is_delivered_in_a_providers_words_and_a_cancellation_is_not(world: World) -> None:
    done = await ended(world, asked("novita", "txt2img"))
    held = await world.submit("a lighthouse [fault:held]", webhook=HOOK, webhook_payload="provider")
    answer = await world.client.post(f"/v1/jobs/{held['id']}/cancel")
    assert answer.json()["status"] == "canceled"
    rows = await world.service.pool.fetch("SELECT job_id, type, payload FROM deliveries")
    assert [tuple(row) for row in rows] == [(read("job", done["id"]), "job.succeeded", "provider")]
    assert await sent_for(world, held) is None


async def test_the_input_is_kept_for_as_long_as_its_parts_may_be_repeated_and_else_goes_at_once(world: World) -> None:
    kept = await ended(world, asked("novita", "txt2img"))
    dropped = await ended(world, {**asked("novita", "txt2img"), "webhook_payload": "full"})
    rows = await world.service.pool.fetch("SELECT job_id, purge_at - now() AS left FROM job_inputs")
    assert [row["job_id"] for row in rows] == [read("job", kept["id"])]
    assert rows[0]["left"].days == 3
    assert await sent_for(world, dropped) is not None


async def test_the_input_of_a_body_of_a_providers_shape_outlives_its_deliverys_last_try(world: World) -> None:
    for mark in ("", "[fault:failed]"):
        await ended(world, asked("novita", "txt2img", mark))
    await ended(world, {**asked("novita", "txt2img", "[fault:failed]"), "webhook_payload": "full"})
    pool, context = world.service.pool, world.service.context
    await pool.execute("UPDATE job_inputs SET purge_at = now() - interval '1 second'")
    await keep_house(context)
    rows = await pool.fetch("SELECT purge_at - completed_at AS kept FROM job_inputs JOIN jobs ON jobs.id = job_id")
    longest = sum(context.settings.delivery.retry_schedule) * 1.1 + 86_400
    assert [row["kept"].total_seconds() for row in rows] == [pytest.approx(longest, abs=1)] * 2
    await pool.execute("UPDATE jobs SET completed_at = completed_at - make_interval(secs => $1)", longest)
    await pool.execute("UPDATE job_inputs SET purge_at = now() - interval '1 second'")
    await keep_house(context)
    assert await pool.fetch("SELECT 1 FROM job_inputs") == []
