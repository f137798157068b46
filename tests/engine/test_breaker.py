"""The circuit breaker: a provider that is down is left alone, its jobs wait, and the others are as quick as ever."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from config.settings import BreakerSettings
from service.demo.s3server import S3Server
from service.engine.breaker import Breaker, Went
from service.engine.submit import submit
from tests.engine.driven import Driven, driven_world, uuid
from tests.engine.lining import next_round, waiting
from tests.engine.test_gates import Clock
from tests.serving import close_when_accepted, serving
from tests.world import World, free_port, running_world, until

DEAD = "GENRELAY_PROVIDERS__NOVITA__BASE_URL"


def make_breaker(clock: Clock) -> Breaker:
    """Return a breaker with the default settings."""
    return Breaker("novita", "txt2img", BreakerSettings(), clock)


def fail(breaker: Breaker, times: int = 1) -> None:
    """Let calls go, one after the other, and fail."""
    for _ in range(times):
        breaker.end(Went.BADLY, "HTTP 503", tried=breaker.begin())


def test_only_failures_in_a_row_open_it() -> None:
    breaker = make_breaker(Clock())
    for _ in range(3):
        fail(breaker, 4)
        breaker.end(Went.WELL, tried=breaker.begin())
    assert breaker.closed
    fail(breaker, 5)
    assert not breaker.closed
    assert breaker.reason == "HTTP 503"


def test_one_call_tries_after_a_while_and_the_pauses_double_up_to_the_longest() -> None:
    clock = Clock()
    breaker = make_breaker(clock)
    fail(breaker, 5)
    pauses = []
    for _ in range(6):
        pauses.append(breaker.wait)
        clock.now += breaker.wait
        assert breaker.begin(), "the one that tries"
        assert not breaker.begin(), "and no other"
        breaker.end(Went.BADLY, "HTTP 503", tried=True)
    for pause, longest in zip(pauses, [5, 10, 20, 40, 60, 60], strict=True):
        assert 0.8 * longest <= pause <= longest


def test_a_success_closes_it_and_the_next_pause_is_the_first_again() -> None:
    clock = Clock()
    breaker = make_breaker(clock)
    fail(breaker, 5)
    clock.now += 5
    fail(breaker)
    clock.now += 10
    breaker.end(Went.WELL, tried=breaker.begin())
    assert (breaker.closed, breaker.wait) == (True, 0)
    fail(breaker, 5)
    assert breaker.wait <= 5


def test_failures_of_what_was_under_way_when_it_opened_do_not_prolong_the_pause() -> None:
    clock = Clock()
    breaker = make_breaker(clock)
    fail(breaker, 5)
    wait = breaker.wait
    for _ in range(20):
        breaker.end(Went.BADLY, "ReadTimeout")
    assert breaker.wait == wait


def test_a_try_that_comes_to_nothing_leaves_the_next_one_its_turn() -> None:
    clock = Clock()
    breaker = make_breaker(clock)
    fail(breaker, 5)
    clock.now += 5
    breaker.end(Went.UNTRIED, tried=breaker.begin())
    assert (breaker.closed, breaker.wait) == (False, 0)
    assert breaker.begin()


@pytest.fixture
async def dead(database_url: str, s3_server: S3Server, bucket: str) -> AsyncIterator[Driven]:
    """A world without workers whose provider refuses connections."""
    nobody = f"http://127.0.0.1:{free_port()}"
    async with driven_world(database_url, s3_server, bucket, **{DEAD: nobody}) as driven:
        yield driven


async def test_jobs_of_a_dead_provider_wait_in_line_and_nothing_is_sent(dead: Driven) -> None:
    for _ in range(5):
        await dead.sent()
    job = await dead.sent()
    assert await waiting(dead) == [uuid(job)]
    assert await dead.sql("SELECT FROM attempts WHERE job_id = $1", uuid(job)) == []
    assert await next_round(dead) == []
    dead.pass_time(5)
    tried = await next_round(dead)
    assert tried == [uuid(job)], "one may try"
    assert await waiting(dead) == [uuid(job)], "and waits again"


async def test_a_job_that_its_provider_could_not_be_reached_for_ends_at_its_deadline_and_says_so(dead: Driven) -> None:
    job = await dead.drive(await dead.sent(deadline_seconds=30))
    assert (job["status"], job["error"]["code"]) == ("failed", "deadline_exceeded")
    assert "could not be reached" in job["error"]["message"]
    assert "ConnectError" in job["error"]["message"]
    assert (await dead.retry(job)).status_code == 202, "nothing was sent, so nobody's consent is needed"


async def test_a_job_that_never_had_a_try_says_what_the_others_met(dead: Driven) -> None:
    for _ in range(5):
        await dead.sent()
    job = await dead.sent(deadline_seconds=30)
    await dead.later(job, 31)
    dead.context.gates.clock = lambda: 0.0  # it is still open
    await submit(dead.context, uuid(job))
    job = await dead.job(job)
    assert job["status"] == "failed"
    assert "ConnectError" in job["error"]["message"]


async def test_of_jobs_that_are_taken_up_together_after_the_pause_one_tries(driven: Driven) -> None:
    gate = driven.context.gates.submits("novita", "txt2img")
    for _ in range(5):
        with gate.enter() as visit:
            visit.answered(503)
    driven.pass_time(gate.opens_in)
    jobs = [await driven.submit("a lighthouse [fault:early] [fault:held]") for _ in range(6)]
    sending = [asyncio.create_task(submit(driven.context, uuid(job))) for job in jobs]

    async def decided() -> bool:
        return len(driven.sandbox.submits) + len(await waiting(driven)) == 6

    await until(decided)
    assert len(driven.sandbox.submits) <= 1
    for sent in driven.sandbox.submits:
        driven.sandbox.release(sent.task_id)
    await asyncio.gather(*sending)


async def test_a_test_job_that_finds_a_dead_provider_comes_back_less_and_less_often(dead: Driven) -> None:
    for _ in range(5):
        await dead.sent()
    gate = dead.context.gates.submits("novita", "txt2img")
    job, pauses = await dead.submit(test_mode={"enabled": True}), []
    gate.room.taken += gate.room.size  # and a full one
    dead.pass_time(60)
    for _ in range(7):
        await dead.make_due(job)
        await submit(dead.context, uuid(job))
        [row] = await dead.sql(
            "SELECT extract(epoch FROM due_at - now())::float8 AS s FROM jobs WHERE id = $1", uuid(job)
        )
        pauses.append(row["s"])
    assert pauses[0] <= 0.5
    assert 7 < pauses[-1] <= 10
    gate.room.taken -= gate.room.size


async def test_a_test_job_is_kept_out_of_a_dead_provider_and_tries_later(dead: Driven) -> None:
    for _ in range(5):
        await dead.sent()
    job = await dead.sent(test_mode={"enabled": True})
    row = await dead.row(job)
    assert (row.status, row.attempt, row.starts) == ("queued", 0, 0)
    assert row.due_at is not None
    assert row.due_at < row.deadline_at
    assert uuid(job) not in await waiting(dead)


async def test_an_open_breaker_answers_read_backs_by_itself(driven: Driven) -> None:
    job = await driven.sent("a lighthouse [fault:stuck] [fault:lookup_500=99]")
    for _ in range(5):
        await driven.look_up(job)
    asked = driven.lookups(job)
    driven.context.gates.look_ups("novita").pause(0)
    other = await driven.called_back()
    assert (await driven.settle(other))["status"] == "running"
    assert (await driven.verdicts(other), driven.lookups(job)) == ([None], asked)
    driven.pass_time(60)
    await driven.later(other, 60)
    assert (await driven.settle(other))["status"] == "copying"


class Hanging:
    """A provider that takes connections and answers nothing; it counts them."""

    def __init__(self) -> None:
        self.taken = 0
        self._open = asyncio.Event()

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take one connection and keep it until the end."""
        self.taken += 1
        try:
            await reader.read()
        finally:
            writer.close()


@contextlib.asynccontextmanager
async def hanging_provider() -> AsyncIterator[tuple[str, Hanging]]:
    """Serve one; yields its URL."""
    provider = Hanging()
    server = await asyncio.start_server(provider.take, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", provider
    finally:
        await close_when_accepted(server)


def modelslab(prompt: str = "a lighthouse at dawn") -> dict[str, Any]:
    """Return the body of a job for the other provider."""
    given = {"prompt": prompt, "model_id": "flux", "width": 512, "height": 512, "samples": 1}
    return {"provider": "modelslab", "operation": "text2img", "destination": "acme", "input": given}


async def test_a_provider_that_hangs_takes_no_places_from_another(
    database_url: str, s3_server: S3Server, bucket: str
) -> None:
    """Forty jobs of one that hangs, in a process with eight places; meanwhile twenty of the other come through."""
    async with hanging_provider() as (url, hanging):
        more = {
            "GENRELAY_PROVIDERS__MODELSLAB__BASE_URL": url,
            "GENRELAY_ENGINE__CONCURRENCY": "4",
            "GENRELAY_ENGINE__DRAIN_SECONDS": "0.5",
        }
        async with running_world(database_url, s3_server, bucket, **more) as world:
            stuck = [await _submit(world, modelslab()) for _ in range(40)]
            await _until_in_line(world, 36)
            jobs = await asyncio.gather(*(world.run() for _ in range(20)))
            assert {job["status"] for job in jobs} == {"succeeded"}
            assert hanging.taken == 4, "half of the places, and no more"
            states = [(await world.job(job))["status"] for job in stuck]
            assert (states.count("submitting"), states.count("queued")) == (4, 36)


async def _submit(world: World, body: dict[str, Any]) -> dict[str, Any]:
    answer = await world.client.post("/v1/jobs", json=body)
    assert answer.status_code == 202, answer.text
    return answer.json()  # type: ignore[no-any-return]


async def _until_in_line(world: World, count: int) -> None:
    async def look() -> bool:
        waiting = "SELECT count(*) FROM line WHERE granted_at IS NULL"
        return bool(await world.service.pool.fetchval(waiting) == count)

    await until(look)


async def test_a_provider_that_comes_back_is_noticed_and_everybody_goes_on(
    database_url: str, s3_server: S3Server, bucket: str
) -> None:
    more = {"GENRELAY_BREAKER__FIRST_SECONDS": "0.2", "GENRELAY_BREAKER__MAX_SECONDS": "0.5"}
    async with running_world(database_url, s3_server, bucket, **more) as world:
        down = [await world.submit("a lighthouse [fault:500_before]", deadline_seconds=30) for _ in range(6)]
        gate = world.service.context.gates.submits("novita", "txt2img")

        async def open_() -> bool:
            return bool(gate.trouble)

        await until(open_)
        jobs = [await world.submit() for _ in range(8)]
        assert [(await world.end(job))["status"] for job in jobs] == ["succeeded"] * 8
        assert gate.trouble == ""
        assert len(down) == 6


async def _accept_and_hang_later(request: Request) -> JSONResponse:
    """Accept every submit, and answer no look-up."""
    if "/fetch" in request.url.path:
        request.app.state.asked += 1
        await request.app.state.end.wait()
    request.app.state.accepted += 1
    return JSONResponse({"status": "processing", "id": request.app.state.accepted, "output": []})


async def test_read_backs_that_hang_take_no_places_from_another_provider(
    database_url: str, s3_server: S3Server, bucket: str
) -> None:
    app = Starlette(routes=[Route("/{path:path}", _accept_and_hang_later, methods=["POST"])])
    app.state.asked = app.state.accepted = 0
    app.state.end = asyncio.Event()
    async with serving(app) as url:
        more = {
            "GENRELAY_PROVIDERS__MODELSLAB__BASE_URL": url,
            "GENRELAY_ENGINE__CONCURRENCY": "4",
            "GENRELAY_ENGINE__DRAIN_SECONDS": "0.5",
            "GENRELAY_ENGINE__SWEEP_SECONDS": "0.2",
            "GENRELAY_RECONCILE__FIRST_SECONDS": "0.5",
        }
        async with running_world(database_url, s3_server, bucket, **more) as world:
            stuck = [await _submit(world, modelslab()) for _ in range(30)]

            async def asked() -> bool:
                return bool(app.state.asked >= 2)

            await until(asked)
            jobs = await asyncio.gather(*(world.run() for _ in range(20)))
            assert {job["status"] for job in jobs} == {"succeeded"}
            assert app.state.asked == 2, "a quarter of the places, and no more"
            tries = "SELECT max(tries) FROM jobs WHERE provider = 'modelslab'"
            assert await world.service.pool.fetchval(tries) == 0, "who only waits for a place has not tried"
            assert {(await world.job(job))["status"] for job in stuck} == {"running"}
            app.state.end.set()


async def test_callbacks_that_find_no_place_for_their_read_back_are_judged_as_soon_as_there_is_one(
    world: World,
) -> None:
    look_ups = world.service.context.gates.look_ups("novita")
    visits = [look_ups.enter() for _ in range(look_ups.room.size - 1)]
    jobs = await asyncio.gather(*(world.run() for _ in range(24)))
    assert {job["status"] for job in jobs} == {"succeeded"}
    took = "SELECT max(extract(epoch FROM completed_at - created_at))::float8 FROM jobs"
    assert await world.service.pool.fetchval(took) < 8, "none had to wait for the sweep, or for a second read-back"
    assert len(visits) == 31
