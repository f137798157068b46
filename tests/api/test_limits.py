"""429: what an account may ask for, exactly, however much comes at once and over however many processes."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from config.loading import load_settings
from handlers.app import make_app
from service import metrics
from service.app import Service, running_service
from service.demo.s3server import S3Server
from tests.api.answers import problem, rows_of_jobs
from tests.serving import serving
from tests.sse import listening
from tests.world import API_KEY, World, client_for, free_port, job_body, running_world, until

HELD = "a lighthouse [fault:held]"
LIMITS = "GENRELAY_LIMITS__"


@contextlib.asynccontextmanager
async def limited(database_url: str, s3: S3Server, bucket: str, **limits: str) -> AsyncIterator[World]:
    """Run a world that is made ready before its limits hold: they are those of the account, as an operator sets them."""
    given = {f"{LIMITS}{name}": value for name, value in limits.items()}
    async with running_world(database_url, s3, bucket, sandbox=None, **given) as world:
        yield world


@contextlib.asynccontextmanager
async def another_service(world: World) -> AsyncIterator[tuple[Service, httpx.AsyncClient]]:
    """Run a second service on a world's database, and lend a client of it."""
    port = free_port()
    settings = load_settings({**world.settings, "GENRELAY_PORT": str(port)})
    async with (
        running_service(settings, "api") as service,
        serving(make_app(service), port=port) as url,
        client_for(url) as client,
    ):
        yield service, client


def refused(limit: str) -> float:
    """Return how often a limit was reached in this process."""
    return float(metrics.REQUESTS_LIMITED.labels(limit)._value.get())


async def under_way(world: World) -> int:
    """Return how many requests of the account hold a place."""
    account = await world.service.accounts.authenticate(API_KEY)
    assert account is not None
    return world.service.limits.under_way(account)


async def until_under_way(world: World, count: int) -> None:
    """Return once so many requests of the account hold a place."""

    async def look() -> bool:
        return await under_way(world) == count

    await until(look)


def check_refusal(answer: httpx.Response, code: str, at_most: int) -> None:
    """Assert that a 429 says what it is, and when to come back."""
    problem(answer, 429, code)
    assert 1 <= int(answer.headers["retry-after"]) <= at_most


async def submit(client: httpx.AsyncClient, key: str | None = None) -> httpx.Response:
    """Submit a job that does not end by itself."""
    headers = {} if key is None else {"Idempotency-Key": key}
    return await client.post("/v1/jobs", json=job_body(HELD), headers=headers)


async def test_no_more_requests_are_under_way_than_may_be(database_url: str, s3_server: S3Server, bucket: str) -> None:
    async with limited(database_url, s3_server, bucket, REQUESTS_AT_ONCE="5") as world:
        job, before = await world.submit(HELD), refused("requests_at_once")
        path = f"/v1/jobs/{job['id']}"
        polls = [asyncio.create_task(world.client.get(path, params={"wait": 60})) for _ in range(5)]
        await until_under_way(world, 5)
        check_refusal(await world.client.get(path), "too_many_requests_at_once", 1)
        assert refused("requests_at_once") == before + 1
        assert (await world.stranger.get("/v1/jobs")).status_code == 200, "another account's"
        polls[0].cancel()
        await until_under_way(world, 4)
        assert (await world.client.post(f"{path}/cancel")).status_code == 200, "the place of one that hung up"
        answers = await asyncio.gather(*polls[1:])
        assert [answer.status_code for answer in answers] == [200] * 4
        await until_under_way(world, 0)


async def test_no_place_is_lost_whatever_becomes_of_a_request(
    database_url: str, s3_server: S3Server, bucket: str
) -> None:
    async with limited(database_url, s3_server, bucket, REQUESTS_AT_ONCE="8") as world:
        job = await world.submit(HELD)

        async def hang_up(number: int) -> None:
            with contextlib.suppress(httpx.HTTPError):
                await world.client.get(f"/v1/jobs/{job['id']}", params={"wait": 60}, timeout=0.01 * (number % 5 + 1))

        async def cut_off() -> None:
            async def endless() -> AsyncIterator[bytes]:
                yield b"{"
                raise ConnectionError("the client has no more")

            with contextlib.suppress(ConnectionError):
                await world.client.post("/v1/jobs", content=endless())

        await asyncio.gather(*(hang_up(number) for number in range(40)), *(cut_off() for _ in range(10)))
        await until_under_way(world, 0)
        answers = [
            await world.client.post("/v1/jobs", content=b"{"),
            await world.client.post("/v1/jobs", json={}),
            await world.client.get("/v1/jobs/job_nonsense"),
            await world.client.get("/v1/jobs?nonsense=1"),
            await world.client.put("/v1/destinations/big", content=b" " * 70_000),
            await world.client.post("/v1/events"),
            await world.client.get("/v1/jobs", headers={"Authorization": "Bearer nobody has this key"}),
        ]
        assert [answer.status_code for answer in answers] == [400, 422, 404, 422, 413, 405, 401]
        await until_under_way(world, 0)


async def test_a_request_that_fails_inside_gives_its_place_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object) -> None:
        raise RuntimeError("inside")

    monkeypatch.setattr(type(world.service.reading), "list_jobs", fail)
    problem(await world.client.get("/v1/jobs"), 500, "internal")
    await until_under_way(world, 0)


async def test_streams_of_events_take_no_places(database_url: str, s3_server: S3Server, bucket: str) -> None:
    async with (
        limited(database_url, s3_server, bucket, REQUESTS_AT_ONCE="1") as world,
        listening(world.client),
        listening(world.client) as stream,
    ):
        job = await world.submit()
        frames = await stream.take(2)
        assert {frame.body["subject"] for frame in frames} == {job["id"]}


async def test_requests_come_no_faster_than_they_may_and_everybody_is_told_what_is_left(
    database_url: str, s3_server: S3Server, bucket: str
) -> None:
    slow = {"REQUESTS_PER_SECOND": "0.01", "REQUESTS_BURST": "6"}
    async with limited(database_url, s3_server, bucket, **slow) as world:
        answers = await asyncio.gather(*(world.client.get("/v1/jobs") for _ in range(40)))
        # The world itself has put a destination.
        assert Counter(answer.status_code for answer in answers) == {200: 5, 429: 35}
        for answer in answers:
            assert answer.headers["ratelimit-policy"] == '"requests";q=6;w=600'
            if answer.status_code == 429:
                check_refusal(answer, "too_many_requests", 100)
                assert answer.headers["ratelimit"].startswith('"requests";r=0;t=')
        left = {answer.headers["ratelimit"].split(";")[1] for answer in answers if answer.status_code == 200}
        assert left == {"r=4", "r=3", "r=2", "r=1", "r=0"}
        wrong = await world.stranger.get("/v1/jobs/nothing")
        problem(wrong, 404, "not_found")
        assert wrong.headers["ratelimit"].startswith('"requests";r=5'), "a problem tells it, too"


async def test_jobs_over_two_processes_come_no_faster_than_they_may(
    database_url: str, s3_server: S3Server, bucket: str
) -> None:
    async with (
        limited(database_url, s3_server, bucket, JOBS_PER_MINUTE="2") as world,
        another_service(world) as (
            _,
            other,
        ),
    ):
        clients, before = [world.client, other], await rows_of_jobs(world)
        answers = await asyncio.gather(*(submit(clients[n % 2], key=f"key-{n}") for n in range(40)))
        taken = [n for n, answer in enumerate(answers) if answer.status_code == 202]
        assert len(taken) == 2
        for answer in answers:
            if answer.status_code != 202:
                check_refusal(answer, "too_many_jobs", 30)
        after = await rows_of_jobs(world)
        for table in ("jobs", "job_inputs", "idempotency_keys"):
            assert after[table] == before[table] + 2, f"what was refused is in {table}"
        for client in clients:
            again = await submit(client, key=f"key-{taken[0]}")
            assert again.headers["idempotency-replayed"] == "true", "a replay costs nothing, and is never refused"
        check_refusal(await submit(world.client), "too_many_jobs", 30)
        assert (await world.stranger.post("/v1/jobs", json={})).status_code == 422, "another account's"


async def test_a_wrong_job_costs_nothing(database_url: str, s3_server: S3Server, bucket: str) -> None:
    async with limited(database_url, s3_server, bucket, JOBS_PER_MINUTE="1", OPEN_JOBS="1") as world:
        for _ in range(3):
            wrong = await world.client.post("/v1/jobs", json=job_body(HELD, destination="nowhere"))
            assert wrong.status_code == 422
        assert (await submit(world.client)).status_code == 202


async def test_jobs_come_back_evenly(database_url: str, s3_server: S3Server, bucket: str) -> None:
    async with limited(database_url, s3_server, bucket, JOBS_PER_MINUTE="10") as world:
        answers = [await submit(world.client) for _ in range(11)]
        assert [answer.status_code for answer in answers] == [202] * 10 + [429]
        for seconds, more in ((6, 1), (12, 2), (3600, 10)):
            await world.service.pool.execute(
                "UPDATE account_rates SET tokens = 0, at = now() - make_interval(secs => $1)", float(seconds)
            )
            answers = [await submit(world.client) for _ in range(more + 1)]
            assert [answer.status_code for answer in answers] == [202] * more + [429], seconds
            check_refusal(answers[-1], "too_many_jobs", 6)


async def test_a_clock_that_was_ahead_shuts_nobody_out(database_url: str, s3_server: S3Server, bucket: str) -> None:
    async with limited(database_url, s3_server, bucket, JOBS_PER_MINUTE="60") as world:
        await submit(world.client)
        await world.service.pool.execute("UPDATE account_rates SET tokens = 0, at = now() + interval '1 day'")
        assert (await submit(world.client)).status_code == 202
        assert await world.service.pool.fetchval("SELECT at <= clock_timestamp() AND tokens <= 59 FROM account_rates")


async def test_no_more_jobs_are_open_than_may_be_over_two_processes(
    database_url: str, s3_server: S3Server, bucket: str
) -> None:
    async with limited(database_url, s3_server, bucket, OPEN_JOBS="5") as world, another_service(world) as (_, other):
        clients = [world.client, other]
        for _ in range(3):
            answers = await asyncio.gather(*(submit(clients[n % 2]) for n in range(40)))
            jobs: list[dict[str, Any]] = [answer.json() for answer in answers if answer.status_code == 202]
            assert len(jobs) == 5
            for answer in answers:
                if answer.status_code != 202:
                    check_refusal(answer, "too_many_open_jobs", 5)
            for job in jobs:
                assert (await world.client.post(f"/v1/jobs/{job['id']}/cancel")).status_code == 200


async def test_retries_and_copies_are_jobs_too(database_url: str, s3_server: S3Server, bucket: str) -> None:
    async with limited(database_url, s3_server, bucket, OPEN_JOBS="1") as world:
        done = await world.run()
        canceled = (await submit(world.client)).json()
        await world.client.post(f"/v1/jobs/{canceled['id']}/cancel")
        kept = (await submit(world.client)).json()
        for path, body in (("retry", {"accept_second_charge": True}), ("copy", {"destination": "acme"})):
            of = canceled if path == "retry" else done
            answer = await world.client.post(f"/v1/jobs/{of['id']}/{path}", json=body)
            check_refusal(answer, "too_many_open_jobs", 5)
        assert (await world.job(canceled))["status"] == "canceled"
        await world.client.post(f"/v1/jobs/{kept['id']}/cancel")
        answer = await world.client.post(f"/v1/jobs/{canceled['id']}/retry", json={"accept_second_charge": True})
        assert answer.status_code == 202


async def test_an_accounts_own_limits_hold_within_seconds(world: World) -> None:
    async def set_limits(limits: dict[str, Any]) -> None:
        await world.service.pool.execute("UPDATE accounts SET limits = $1 WHERE name = 'default'", limits)

    await world.submit(HELD)
    await set_limits({"open_jobs": 1})

    async def is_refused() -> bool:
        return (await submit(world.client)).status_code == 429

    await until(is_refused, 5)
    await set_limits({})

    async def is_taken() -> bool:
        return (await submit(world.client)).status_code == 202

    await until(is_taken, 5)


async def test_callbacks_are_not_counted(database_url: str, s3_server: S3Server, bucket: str) -> None:
    strict = {"REQUESTS_PER_SECOND": "0.01", "REQUESTS_BURST": "2", "REQUESTS_AT_ONCE": "1"}
    async with limited(database_url, s3_server, bucket, **strict) as world:
        await world.submit()

        async def ended() -> bool:
            return bool(await world.service.pool.fetchval("SELECT count(*) FROM jobs WHERE status = 'succeeded'"))

        await until(ended)
        assert (await world.client.get("/v1/jobs")).status_code == 429
        assert all(sent.status == 200 for sent in world.sandbox.callbacks_sent)


async def test_limits_that_are_not_set_add_no_statement(world: World) -> None:
    await world.submit()
    assert await world.service.pool.fetchval("SELECT count(*) FROM account_rates") == 0
