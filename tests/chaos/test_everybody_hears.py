"""Whoever asked for events gets each of them, whatever is killed when: a ledger compares what came with what is stored."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.db.embedded import EmbeddedServer, control
from service.demo.s3server import S3Server
from service.points import POINTS
from tests.aws import Moto
from tests.chaos.audience import Audience, audience
from tests.chaos.ground import TERMINAL, Ground, ground
from tests.chaos.own_server import own_server
from tests.database import fresh_database
from tests.receiver import receiver_process, serving_receiver
from tests.world import free_port, job_body, until

__all__ = ["own_server"]
TEST: dict[str, Any] = {"test_mode": {"enabled": True, "return_task_status": "TASK_STATUS_SUCCEED"}}
# Between the commit that writes an event and its place; before and after a try; and where events are written.
WAY = [point for point in POINTS if point.startswith(("events.", "delivery."))]
KILLED_AT = [*WAY, "delivery.sent:4", "events.placing:3", "intake.committed", "judge.committed", "copy.stored"]
STOPPED_AT = [*WAY, "delivery.sent:4"]
AT_A_TIME = 6


def groups(points: list[str]) -> list[list[str]]:
    return [points[i : i + AT_A_TIME] for i in range(0, len(points), AT_A_TIME)]


async def at_each(
    points: list[str],
    postgres: EmbeddedServer,
    s3: S3Server,
    folder: Path,
    act: Callable[[Audience, str], Awaitable[None]],
) -> None:
    """Run `act` for each point on a ground of its own, side by side."""

    async def one(point: str) -> None:
        own = folder / point.replace(":", "-")
        own.mkdir()
        async with (
            fresh_database(postgres) as url,
            ground(url, s3, own) as on,
            serving_receiver() as receiver,
            audience(on, receiver) as everybody,
        ):
            try:
                await act(everybody, point)
            except BaseException as error:
                error.add_note(f"at {point}\n{on.logs()}")
                raise

    async with asyncio.TaskGroup() as group:
        for point in points:
            group.create_task(one(point))


async def end_of_all(on: Ground, *jobs: dict[str, Any]) -> None:
    """Return once they have ended; a paid one has its output."""
    for job in jobs:
        assert (await on.end(job))["status"] in {"succeeded", "failed"}


async def submit_anew(everybody: Audience) -> dict[str, Any] | None:
    """Submit as a careful client does, with an idempotency key; None when there was no answer."""
    body = job_body(**everybody.hook(*TERMINAL), metadata={"colour": "blue"})
    with contextlib.suppress(httpx.TransportError):
        async with everybody.on.client() as client:
            answer = await client.post("/v1/jobs", json=body, headers={"Idempotency-Key": "order-1"})
            assert answer.status_code == 202, answer.text
            return answer.json()  # type: ignore[no-any-return]
    return None


async def kill_and_compare(everybody: Audience, point: str) -> None:
    on = everybody.on
    async with on.process(GENRELAY_CRASH_AT=point) as doomed:
        await on.put_destination()
        await everybody.subscribe()
        await everybody.listen()
        await submit_anew(everybody)
        assert await doomed.ended() == -signal.SIGKILL, f"it never came to {point}"
    async with on.process():
        job = await submit_anew(everybody)
        assert job is not None
        everybody.note(job, *TERMINAL)
        await end_of_all(on, job)
        feed = await everybody.check()
        # Killed between its intent and its answer, it ends as submit_unknown: that is told in the same way.
        assert len([event for event in feed if event["type"] in TERMINAL]) == 1
        assert everybody.listeners[0].connections >= 2


@pytest.mark.parametrize("points", groups(KILLED_AT), ids=" ".join)
async def test_everybody_hears_although_the_process_is_killed_at(
    points: list[str], postgres: EmbeddedServer, s3_server: S3Server, tmp_path: Path
) -> None:
    await at_each(points, postgres, s3_server, tmp_path, kill_and_compare)


async def stop_and_compare(everybody: Audience, point: str) -> None:
    on = everybody.on
    async with on.process("api"), on.worker(GENRELAY_STOP_AT=point) as stopped:
        await on.put_destination()
        await everybody.subscribe()
        await everybody.listen()
        job = await everybody.submit(metadata={"colour": "blue"})
        await stopped.stopped()
        async with on.worker():
            await end_of_all(on, job)
            before = await everybody.check()
            stopped.send(signal.SIGCONT)
            assert await stopped.terminate() == 0, stopped.tail()
            assert await everybody.check() == before, "what a worker does too late changes nothing"
            rows = await on.fetch("SELECT DISTINCT status FROM deliveries")
            assert [row["status"] for row in rows] == ["delivered"]


@pytest.mark.parametrize("points", groups(STOPPED_AT), ids=" ".join)
async def test_everybody_hears_although_a_worker_is_stopped_past_its_lease_at(
    points: list[str], postgres: EmbeddedServer, s3_server: S3Server, tmp_path: Path
) -> None:
    await at_each(points, postgres, s3_server, tmp_path, stop_and_compare)


async def test_everybody_hears_once_when_two_workers_run_and_nothing_goes_wrong(
    database_url: str, s3_server: S3Server, moto: Moto, tmp_path: Path
) -> None:
    replica = free_port()
    async with (
        ground(database_url, s3_server, tmp_path) as on,
        serving_receiver() as receiver,
        audience(on, receiver, moto) as everybody,
        on.process("api"),
        on.process("api", port=replica) as other,
        on.worker(),
        on.worker(),
    ):
        await on.put_destination()
        await everybody.subscribe(moto)
        await everybody.listen()
        await everybody.listen(other.url)
        jobs = [await everybody.submit(metadata={"colour": colour}) for colour in ("blue", "red") for _ in range(5)]
        jobs.append(await everybody.submit("a harbour [fault:failed]"))
        jobs.append(await everybody.submit(**TEST))
        await end_of_all(on, *jobs)
        feed = await everybody.check(once=True)
        assert len([event for event in feed if event["type"] in TERMINAL]) == len(jobs)
        assert everybody.queue is not None
        assert everybody.queue.heard


async def test_everybody_hears_although_an_api_process_is_killed(
    database_url: str, s3_server: S3Server, tmp_path: Path
) -> None:
    replica = free_port()
    async with (
        ground(database_url, s3_server, tmp_path) as on,
        serving_receiver() as receiver,
        audience(on, receiver) as everybody,
        on.process("api", port=replica) as other,
        on.worker(),
    ):
        async with on.process("api") as doomed:
            await on.put_destination()
            await everybody.subscribe()
            # The one comes back at the other replica, the other at the same one.
            moved, _same = await everybody.listen(on.url, other.url), await everybody.listen()
            held = await everybody.submit("a lighthouse [fault:held]", metadata={"colour": "blue"})
            running = await on.until_status(held, "running")
            await doomed.kill()
            # Its callback finds nobody, and comes again.
            on.sandbox.release(running["provider_task_id"])
            await until(lambda: _is_so(moved.connections == 2))
        async with on.process("api"):
            more = await everybody.submit("a harbour")
            await end_of_all(on, held, more)
            await everybody.check(once=True)


async def test_everybody_hears_although_postgresql_is_restarted(
    own_server: tuple[EmbeddedServer, Path], s3_server: S3Server, tmp_path: Path
) -> None:
    server, folder = own_server
    async with (
        ground(server.dsn, s3_server, tmp_path) as on,
        serving_receiver() as receiver,
        audience(on, receiver) as everybody,
        on.process() as process,
    ):
        await on.put_destination()
        await everybody.subscribe()
        await everybody.listen()
        held = await everybody.submit("a lighthouse [fault:held]", metadata={"colour": "blue"})
        running = await on.until_status(held, "running")
        # Received, and its outcome can't be written; hence it comes again.
        receiver.plan("/hooks/all", seconds=0.5)
        copied = await everybody.submit("a harbour [fault:slow_image=1]")
        await on.until_status(copied, "copying")
        await asyncio.to_thread(control, folder, "stop", "-m", "immediate")
        await asyncio.to_thread(control, folder, "restart")
        on.sandbox.release(running["provider_task_id"])
        await end_of_all(on, held, copied)
        await everybody.check()
        assert process.alive


async def test_everybody_hears_although_the_listening_sessions_are_ended(
    database_url: str, s3_server: S3Server, tmp_path: Path
) -> None:
    async with (
        ground(database_url, s3_server, tmp_path) as on,
        serving_receiver() as receiver,
        audience(on, receiver) as everybody,
        on.process("api"),
        on.worker(),
    ):
        await on.put_destination()
        await everybody.subscribe()
        await everybody.listen()
        await everybody.listen()
        held = await everybody.submit("a lighthouse [fault:held]", metadata={"colour": "blue"})
        running = await on.until_status(held, "running")
        waiting = asyncio.create_task(on.end(held))
        cut = await on.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = 'genrelay listener'"
        )
        assert len(cut) == 2, "one for each process"
        on.sandbox.release(running["provider_task_id"])
        await waiting
        await everybody.check(once=True)
        assert [listener.connections for listener in everybody.listeners] == [1, 1], "the streams went on"


async def test_a_receiver_that_was_away_hears_of_everything_when_it_is_back(
    database_url: str, s3_server: S3Server, moto: Moto, tmp_path: Path
) -> None:
    async with (
        ground(database_url, s3_server, tmp_path) as on,
        receiver_process(free_port(), tmp_path / "ledger") as receiver,
        audience(on, receiver, moto) as everybody,
        on.process(),
    ):
        await on.put_destination()
        await everybody.subscribe(moto)
        await everybody.listen()
        before = await everybody.submit(metadata={"colour": "blue"})
        await end_of_all(on, before)
        await receiver.until(path="/hooks/ends")
        await receiver.kill()
        meanwhile = [await everybody.submit(metadata={"colour": "blue"}) for _ in range(3)]
        await end_of_all(on, *meanwhile)

        async def tried() -> bool:
            rows = await on.fetch("SELECT 1 FROM delivery_attempts WHERE outcome = 'failed'")
            return len(rows) > 2

        await until(tried)
        await receiver.start()
        await everybody.check()


async def test_a_worker_that_is_told_to_stop_finishes_what_it_sends_and_the_next_one_sends_the_rest(
    database_url: str, s3_server: S3Server, tmp_path: Path
) -> None:
    async with (
        ground(database_url, s3_server, tmp_path) as on,
        serving_receiver() as receiver,
        audience(on, receiver) as everybody,
        on.process("api"),
    ):
        receiver.plan("/hooks/all", seconds=0.3)
        async with on.worker() as leaving:
            await on.put_destination()
            await everybody.subscribe()
            await everybody.listen()
            jobs = [await everybody.submit(metadata={"colour": "blue"}) for _ in range(8)]
            await receiver.until(10)
            assert await leaving.terminate() == 0, leaving.tail()
            assert receiver.open == 0, "it did not leave anything behind that was under way"
        async with on.worker():
            await end_of_all(on, *jobs)
            await everybody.check(once=True)


async def _is_so(found: bool) -> bool:
    return found
