"""`POST /v1/jobs/{id}/copy`: who may, of what, and where to."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx

from tests.api.answers import paths_of, problem, rows_of_jobs
from tests.world import World, destination, job_body

BODY = {"destination": "other"}


async def _ask(world: World, job: dict[str, Any], body: Any = BODY, key: str | None = None) -> httpx.Response:
    headers = {} if key is None else {"Idempotency-Key": key}
    return await world.client.post(f"/v1/jobs/{job['id']}/copy", json=body, headers=headers)


async def _other(world: World) -> None:
    answer = await world.client.put("/v1/destinations/other", json=destination(world.s3, world.bucket, path="copies"))
    assert answer.status_code == 201, answer.text


async def test_a_copy_is_a_job_like_any_other(world: World) -> None:
    await _other(world)
    job = await world.run(metadata={"order": "42"})
    answer = await world.client.post(job["links"]["copy"], json=BODY)
    assert answer.status_code == 202
    copied = answer.json()
    assert answer.headers["location"] == f"/v1/jobs/{copied['id']}" == copied["links"]["self"]
    assert set(copied) == set(job)
    assert (copied["copy_of"], job["copy_of"], copied["destination"]) == (job["id"], None, "other")
    assert [output["status"] for output in copied["outputs"]] == ["pending"]
    ended = await world.end(copied)
    assert (ended["status"], ended["outputs"][0]["sha256"]) == ("succeeded", job["outputs"][0]["sha256"])
    assert [event["type"] for event in await world.events(copied)] == ["job.copying", "output.stored", "job.succeeded"]
    assert [event["data"]["sequence"] for event in await world.events(copied)] == [1, 2, 3]
    listed = (await world.client.get("/v1/jobs", params={"destination": "other"})).json()["data"]
    assert [one["id"] for one in listed] == [copied["id"]]
    assert len(world.sandbox.submits) == 1


async def test_only_a_real_job_that_has_ended_with_outputs_is_copied(world: World) -> None:
    await _other(world)
    held = await world.submit("a lighthouse [fault:held]")
    for job, said in (
        (held, "ended"),
        (await world.run(test_mode={"enabled": True}), "test job"),
        (await world.run("a lighthouse [fault:400]"), "without outputs"),
    ):
        before = await rows_of_jobs(world)
        assert said in problem(await _ask(world, job), 409, "not_copyable")["detail"]
        assert await rows_of_jobs(world) == before
    assert (await world.client.post(held["links"]["cancel"])).is_success
    problem(await _ask(world, held), 409, "not_copyable")


async def test_every_mistake_is_told(world: World) -> None:
    await _other(world)
    job = await world.run()
    await world.stranger.put("/v1/destinations/theirs", json=destination(world.s3, world.bucket))
    before = await rows_of_jobs(world)
    cases: list[tuple[Any, set[str]]] = [
        ({}, {"destination"}),
        ({"destination": None}, {"destination"}),
        ({"destination": "nowhere"}, {"destination"}),
        ({"destination": "theirs"}, {"destination"}),
        ({"destination": "x" * 65}, {"destination"}),
        ({"destination": "a\0b"}, {"destination"}),
        ({**BODY, "metadata": None}, {"metadata"}),
        ({**BODY, "metadata": {"order": 42}}, {"metadata.order"}),
        ({**BODY, "input": {}}, {"input"}),
        ({"destnation": "other"}, {"destination", "destnation"}),
        ([], {"body"}),
    ]
    for body, paths in cases:
        found = paths_of(await _ask(world, job, body))
        assert found == paths, body
    problem(await world.client.post(f"/v1/jobs/{job['id']}/copy", content=b"{"), 400, "invalid_json")
    problem(await world.client.post(f"/v1/jobs/{job['id']}/copy"), 400, "invalid_json")
    assert await rows_of_jobs(world) == before


async def test_another_accounts_job_is_not_there_to_be_copied(world: World) -> None:
    job = await world.run()
    await world.stranger.put("/v1/destinations/other", json=destination(world.s3, world.bucket))
    before = await rows_of_jobs(world)
    for body in (BODY, {}, {"destination": "nowhere"}):
        problem(await world.stranger.post(f"/v1/jobs/{job['id']}/copy", json=body), 404, "not_found")
    assert await rows_of_jobs(world) == before


async def test_the_same_key_makes_one_copy(world: World) -> None:
    await _other(world)
    job = await world.run()
    answers = await asyncio.gather(*(_ask(world, job, key="once") for _ in range(4)))
    assert {answer.status_code for answer in answers} == {202}
    [copied] = {answer.json()["id"] for answer in answers}
    assert sorted(answer.headers.get("idempotency-replayed", "") for answer in answers) == ["", "true", "true", "true"]
    assert (await world.end({"id": copied}))["status"] == "succeeded"
    again = await _ask(world, job, key="once")
    assert (again.status_code, again.json()["status"]) == (202, "succeeded")
    assert len((await world.client.get("/v1/jobs", params={"destination": "other"})).json()["data"]) == 1


async def test_a_key_stands_for_one_request_of_whatever_kind(world: World) -> None:
    await _other(world)
    job, second = await world.run(), await world.run()
    assert (await _ask(world, job, key="once")).status_code == 202
    for answer in (
        await _ask(world, job, {**BODY, "metadata": {"order": "7"}}, key="once"),
        await _ask(world, second, key="once"),
        await world.client.post("/v1/jobs", json=job_body(), headers={"Idempotency-Key": "once"}),
    ):
        problem(answer, 422, "idempotency_key_reused")
    # A refusal is not kept: the key is good for another try.
    problem(await _ask(world, job, {"destination": "nowhere"}, key="twice"), 422, "invalid_request")
    assert (await _ask(world, job, key="twice")).status_code == 202
