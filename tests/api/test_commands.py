"""Cancel and retry: what a client may do to its job, and what it may not."""

from __future__ import annotations

from tests.api.answers import paths_of, problem
from tests.world import World, txt2img, until

HELD = "a lighthouse [fault:held]"


async def test_an_open_job_is_canceled_once_and_stays_so(world: World) -> None:
    job = await world.submit(HELD)
    first = await world.client.post(job["links"]["cancel"])
    assert first.status_code == 200
    assert (first.json()["status"], first.json()["id"]) == ("canceled", job["id"])
    again = await world.client.post(job["links"]["cancel"], content=b"whatever")
    assert (again.status_code, again.json()) == (200, first.json())
    events = [event["type"] for event in await world.events(job)]
    assert events.count("job.canceled") == 1
    assert events[-1] == "job.canceled"


async def test_a_job_that_has_ended_otherwise_is_not_canceled(world: World) -> None:
    for prompt in ("a lighthouse", "a lighthouse [fault:400]"):
        job = await world.run(prompt)
        answer = await world.client.post(f"/v1/jobs/{job['id']}/cancel")
        assert job["status"] in problem(answer, 409, "already_ended")["detail"]
        assert await world.job(job) == job


async def test_only_failed_and_canceled_jobs_are_retried(world: World) -> None:
    held = await world.submit(HELD)
    problem(await world.client.post(f"/v1/jobs/{held['id']}/retry"), 409, "not_retryable")
    assert (await world.client.post(f"/v1/jobs/{held['id']}/cancel")).is_success
    done = await world.run()
    problem(await world.client.post(f"/v1/jobs/{done['id']}/retry"), 409, "not_retryable")


async def test_a_retry_begins_the_next_run_of_the_same_job(world: World) -> None:
    job = await world.run(test_mode={"enabled": True, "return_task_status": "TASK_STATUS_FAILED"})
    assert (job["status"], job["error"]["code"]) == ("failed", "provider_failed")
    answer = await world.client.post(f"/v1/jobs/{job['id']}/retry")
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    again = answer.json()
    assert (again["id"], again["status"], again["run"]) == (job["id"], "queued", 2)
    for name in ("error", "completed_at", "provider_task_id", "verified_by"):
        assert again[name] is None, name
    assert again["deadline_at"] > job["deadline_at"]
    ended = await world.end(again)
    assert (ended["status"], ended["run"], ended["verified_by"]) == ("failed", 2, "token")
    kinds = [event["type"] for event in await world.events(job)]
    assert [kind for kind in kinds if kind in {"job.queued", "job.failed"}] == ["job.queued", "job.failed"] * 2


async def test_what_may_be_charged_twice_is_only_sent_again_with_consent(world: World) -> None:
    # The task is taken and its submit answered with a 500: nobody can tell, and no callback comes to say so.
    job = await world.submit("a lighthouse [fault:500_after] [fault:held]")

    async def unclear() -> bool:
        return await world.service.pool.fetchval("SELECT outcome FROM attempts") == "unclear"

    await until(unclear)
    assert (await world.client.post(job["links"]["cancel"])).is_success
    for body in (None, {}, {"accept_second_charge": False}):
        problem(await world.client.post(f"/v1/jobs/{job['id']}/retry", json=body), 409, "second_charge")
    assert len(world.sandbox.submits) == 1
    answer = await world.client.post(f"/v1/jobs/{job['id']}/retry", json={"accept_second_charge": True})
    assert answer.status_code == 202

    async def sent_again() -> bool:
        return len(world.sandbox.submits) == 2

    await until(sent_again)
    assert (await world.client.post(job["links"]["cancel"])).is_success


async def test_a_retry_takes_nothing_but_its_one_word(world: World) -> None:
    job = await world.run("a lighthouse [fault:400]")
    path = f"/v1/jobs/{job['id']}/retry"
    for body, paths in (
        ({"accept_second_charge": "yes"}, {"accept_second_charge"}),
        ({"accept_second_charge": None}, {"accept_second_charge"}),
        ({"acept_second_charge": True}, {"acept_second_charge"}),
        ([True], {"body"}),
    ):
        assert paths_of(await world.client.post(path, json=body)) == paths
    problem(await world.client.post(path, content=b"{"), 400, "invalid_json")
    assert await world.job(job) == job


async def test_ids_that_are_none_are_not_found(world: World) -> None:
    job = await world.run(input=txt2img(), test_mode={"enabled": True})
    plain = job["id"].removeprefix("job_")
    for wrong in (
        plain,
        f"evt_{plain}",
        job["id"].upper(),
        job["id"][:-1],
        job["id"] + "0",
        "job_",
        "%00",
        "job_%F0%9F%98%80",
    ):
        problem(await world.client.get(f"/v1/jobs/{wrong}"), 404, "not_found")
        problem(await world.client.post(f"/v1/jobs/{wrong}/cancel"), 404, "not_found")
