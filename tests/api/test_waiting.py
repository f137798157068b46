"""`?wait=` and `Prefer: wait=`: held until the end, and not a moment longer."""

from __future__ import annotations

import asyncio

from config.loading import load_settings
from handlers.app import make_app
from service.app import running_service
from service.events.endings import Endings
from tests.api.answers import paths_of
from tests.serving import serving
from tests.world import World, client_for, until

HELD = "a lighthouse [fault:held]"


async def _release(world: World, job: dict[str, str]) -> float:
    """Let a held job end once its task is known; returns the loop's time of it."""

    async def task_id() -> str | None:
        found = (await world.job(job))["provider_task_id"]
        return str(found) if found else None

    task = await until(task_id)
    assert world.sandbox.release(task)
    return asyncio.get_running_loop().time()


async def _waited_for(endings: Endings) -> None:
    """Return once somebody waits."""

    async def anybody() -> bool:
        return bool(endings._waiting)

    await until(anybody)


async def test_a_waiter_is_answered_promptly_when_the_job_ends(world: World) -> None:
    for how in ({"params": {"wait": 60}}, {"headers": {"Prefer": "wait=60"}}, {"params": {"wait": 999_999}}):
        job = await world.submit(HELD)
        waiter = asyncio.create_task(world.client.get(f"/v1/jobs/{job['id']}", **how))  # type: ignore[arg-type]
        await _waited_for(world.service.endings)
        assert not waiter.done()
        await _release(world, job)
        answer = await waiter
        assert answer.status_code == 200
        ended = answer.json()
        assert ended["status"] == "succeeded"
        assert answer.headers.get("preference-applied") == ("wait=60" if "headers" in how else None)


async def test_the_end_wakes_the_waiter_rather_than_the_next_poll(world: World) -> None:
    loop = asyncio.get_running_loop()
    job = await world.submit(HELD)

    async def task_is_known() -> bool:
        return (await world.job(job))["provider_task_id"] is not None

    await until(task_is_known)
    waiter = asyncio.create_task(world.client.get(f"/v1/jobs/{job['id']}", params={"wait": 30}))
    await _waited_for(world.service.endings)
    assert (await world.client.post(f"/v1/jobs/{job['id']}/cancel")).status_code == 200
    ended = loop.time()
    assert (await waiter).json()["status"] == "canceled"
    # The poll behind the notification comes every two seconds.
    assert loop.time() - ended < 1


async def test_a_waiter_on_another_replica_is_woken_too(world: World) -> None:
    async with running_service(load_settings(world.settings), "api") as replica, serving(make_app(replica)) as url:
        assert replica.engine is None

        async def listening() -> bool:
            return replica.listener.listening

        await until(listening)
        async with client_for(url) as elsewhere:
            job = await world.submit(HELD)
            waiter = asyncio.create_task(elsewhere.get(f"/v1/jobs/{job['id']}", params={"wait": 30}))
            await _waited_for(replica.endings)
            await _release(world, job)
            assert (await waiter).json()["status"] == "succeeded"


async def test_a_wait_that_runs_out_answers_with_the_job_as_it_is(world: World) -> None:
    job = await world.submit(HELD)
    answer = await world.client.get(f"/v1/jobs/{job['id']}", headers={"Prefer": "respond-async, wait=1"})
    assert answer.status_code == 200
    assert answer.json()["completed_at"] is None
    assert answer.headers["preference-applied"] == "wait=1"
    assert (await world.client.get(f"/v1/jobs/{job['id']}", params={"wait": 0})).json()["completed_at"] is None
    await world.client.post(f"/v1/jobs/{job['id']}/cancel")


async def test_a_wait_that_is_no_number_of_seconds_is_refused_and_a_preference_like_it_is_ignored(world: World) -> None:
    job = await world.submit(HELD)
    path = f"/v1/jobs/{job['id']}"
    for wait in ("-1", "1.5", "soon", "", "+3", "9" * 30, "٣"):
        assert paths_of(await world.client.get(path, params={"wait": wait})) == {"wait"}
    assert paths_of(await world.client.get(path, params={"wait": "1", "wiat": "2"})) == {"wiat"}
    assert paths_of(await world.client.get(f"{path}?wait=1&wait=2")) == {"wait"}
    for prefer in ("wait", "wait=", "wait=x", "waiter=5", "return=minimal", "wait=-5", "=;,"):
        answer = await world.client.get(path, headers={"Prefer": prefer})
        assert answer.status_code == 200
        assert "preference-applied" not in answer.headers
    await world.client.post(f"/v1/jobs/{job['id']}/cancel")


async def test_waiters_are_let_go_when_the_service_stops(world: World) -> None:
    job = await world.submit(HELD)
    waiter = asyncio.create_task(world.client.get(f"/v1/jobs/{job['id']}", params={"wait": 60}))
    await _waited_for(world.service.endings)
    world.service.endings.release()
    assert (await waiter).json()["completed_at"] is None
    await world.client.post(f"/v1/jobs/{job['id']}/cancel")
