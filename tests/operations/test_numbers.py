"""Metrics of calls, jobs, requests and connections come from what really happened, under bounded labels."""

from __future__ import annotations

import asyncio
import re

import pytest
from prometheus_client import generate_latest

from service.db.pool import open_pool
from service.demo.s3server import S3Server
from tests.engine.driven import Driven, driven_world
from tests.world import World


def number(name: str, **labels: str) -> float:
    """Return a metric's value, 0 if there is none with these labels."""
    for found, value in re.findall(rf"^{name}(?:\{{(.*)\}})? (\S+)$", generate_latest().decode(), re.MULTILINE):
        if dict(re.findall(r'(\w+)="([^"]*)"', found)) == labels:
            return float(value)
    return 0.0


async def test_a_jobs_calls_and_its_duration_are_counted(world: World) -> None:
    calls = {"provider": "novita", "operation": "txt2img", "call": "submit", "outcome": "2xx"}
    asked = {**calls, "call": "look_up"}
    ended = {"provider": "novita", "operation": "txt2img", "status": "succeeded"}
    before = [
        number("genrelay_provider_calls_total", **calls),
        number("genrelay_provider_calls_total", **asked),
        number("genrelay_provider_call_duration_seconds_count", provider="novita", call="submit"),
        number("genrelay_job_duration_seconds_count", **ended),
    ]
    await world.run()
    await world.run(test_mode={"enabled": True}, destination=None)
    after = [
        number("genrelay_provider_calls_total", **calls),
        number("genrelay_provider_calls_total", **asked),
        number("genrelay_provider_call_duration_seconds_count", provider="novita", call="submit"),
        number("genrelay_job_duration_seconds_count", **ended),
    ]
    # A test job goes to a provider that has a test mode, and its duration says nothing.
    assert [now - then for now, then in zip(after, before, strict=True)] == [2, 1, 2, 1]


@pytest.mark.parametrize(
    ("fault", "outcome"), [("500_before", "5xx"), ("429", "429"), ("400", "4xx"), ("reset_after", "answer_lost")]
)
async def test_a_call_that_fails_is_counted_by_how(
    fault: str, outcome: str, database_url: str, s3_server: S3Server, bucket: str
) -> None:
    labels = {"provider": "novita", "operation": "txt2img", "call": "submit", "outcome": outcome}
    before = number("genrelay_provider_calls_total", **labels)
    async with driven_world(database_url, s3_server, bucket) as driven:
        await _submit(driven, fault)
    assert number("genrelay_provider_calls_total", **labels) - before == 1


async def _submit(driven: Driven, fault: str) -> None:
    job = await driven.submit(f"a lighthouse [fault:{fault}]")
    await driven.step(job)


async def test_requests_are_timed_by_route_and_streams_are_not(world: World) -> None:
    def count(route: str) -> float:
        return number("genrelay_http_request_duration_seconds_count", route=route)

    routes = ["/v1/jobs", "/v1/jobs/{id}/events", "/v1/callbacks/{provider}/{token}"]
    before = [count(route) for route in routes]
    job = await world.run()
    async with world.client.stream(
        "GET", f"/v1/jobs/{job['id']}/events", headers={"Accept": "text/event-stream"}
    ) as stream:
        assert "event: job.succeeded" in "".join([text async for text in stream.aiter_text()])
    assert [count(route) - then for route, then in zip(routes, before, strict=True)] == [1, 0, 1]


async def test_a_pool_shows_its_connections_and_how_long_was_waited(database_url: str) -> None:
    async with await open_pool(database_url, size=1, name="genrelay of a test") as pool:
        label = {"pool": "of a test"}
        before = number("genrelay_pool_wait_seconds_count", **label)
        long_before = before - number("genrelay_pool_wait_seconds_bucket", **label, le="0.05")

        async def ask() -> int:
            return int(await pool.fetchval("SELECT 1"))

        async with pool.acquire() as connection:
            assert number("genrelay_pool_connections", **label, state="in_use") == 1
            assert number("genrelay_pool_connections", **label, state="idle") == 0
            waiting = asyncio.create_task(ask())
            await connection.execute("SELECT pg_sleep(0.1)")
        assert await waiting == 1
        assert number("genrelay_pool_connections", **label, state="idle") == 1
        assert number("genrelay_pool_wait_seconds_count", **label) - before == 2
        long = number("genrelay_pool_wait_seconds_count", **label) - number(
            "genrelay_pool_wait_seconds_bucket", **label, le="0.05"
        )
        assert long - long_before == 1


async def test_version_and_role_are_told(world: World) -> None:
    text = generate_latest().decode()
    assert re.search(r'^genrelay_build_info\{version="\d+\.\d+\.\d+"\} 1\.0$', text, re.MULTILINE)
    assert number("genrelay_process_role_info", role="all") == 1


async def test_no_label_holds_an_id_a_key_or_a_path(world: World) -> None:
    job = await world.run()
    await world.client.get(f"/v1/jobs/{job['id']}")
    await world.client.get("/v1/nowhere/at-all")
    text = generate_latest().decode()
    for hidden in ("job_0", "acme", "at-all", "somebody", job["id"]):
        assert not re.search(rf'="[^"]*{hidden}', text), hidden
