"""How long it takes from a provider's callback to the signed webhook about it, with everything in between and around."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import uvloop
from rich.console import Console

from service.ids import show
from tests.bench.load import Target
from tests.bench.processes import Broken
from tests.bench.receivers import Receivers, running_receivers
from tests.bench.report import Row, percentile
from tests.bench.service_process import OurService
from tests.bench.world import World, running_world

ASKED = "p95 100 ms"
RATE = 50.0
_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Size:
    """How much is run: seconds at the offered rate, after a warm-up."""

    seconds: float = 20.0
    warm_up: float = 4.0


QUICK = Size(6.0, 2.0)


@dataclass(slots=True)
class Heard:
    """Seconds from a callback's commit until the webhook came, by the event's type."""

    latencies: dict[str, list[float]] = field(default_factory=dict)
    jobs_per_second: float = 0.0


def _body(target: Target, url: str, *, test: bool) -> bytes:
    job: dict[str, Any] = json.loads(target.body)
    job |= {"webhook": url, "webhook_events_filter": ["job.callback", "job.succeeded"]}
    if test:
        job |= {"test_mode": {"enabled": True, "return_task_status": "TASK_STATUS_SUCCEED"}}
    return json.dumps(job).encode()


async def _offer(target: Target, body: bytes, seconds: float) -> list[str]:
    """Submit at the rate, each when it is due, however long the others take; returns the jobs' ids."""
    headers = {"Content-Type": "application/json", **target.headers}

    async def submit(session: aiohttp.ClientSession) -> str:
        async with session.post(target.url, data=body) as reply:
            if reply.status != 202:
                raise Broken(f"submit answered {reply.status}: {(await reply.text())[:500]}")
            return str(json.loads(await reply.read())["id"])

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), headers=headers) as session:
        began, submits = time.perf_counter(), []
        for number in range(round(seconds * RATE)):
            if (ahead := began + number / RATE - time.perf_counter()) > 0:
                await asyncio.sleep(ahead)
            submits.append(asyncio.create_task(submit(session)))
        return await asyncio.gather(*submits)


def _wait(receivers: Receivers, ids: Sequence[str]) -> dict[tuple[str, str], float]:
    """Return when each event first came, by job and type, once every job's end has."""
    came: dict[tuple[str, str], float] = {}
    ends = {(job, "job.succeeded") for job in ids}
    deadline = time.monotonic() + _SECONDS
    while ends - came.keys():
        if time.monotonic() > deadline:
            raise Broken(f"hearing: {len(ends - came.keys())} of {len(ends)} jobs' ends did not come")
        time.sleep(0.2)
        for one in receivers.take():
            came.setdefault((one["subject"], one["type"]), one["at"])
    return came


async def _callbacks(dsn: str) -> dict[str, float]:
    """Return when each job's first callback was committed, in unix time: this machine's clock, as at the receiver."""
    connection = await asyncpg.connect(dsn)
    try:
        rows = await connection.fetch(
            "SELECT job_id, extract(epoch FROM min(received_at))::float8 AS at FROM callbacks GROUP BY job_id"
        )
        return {show("job", row["job_id"]): row["at"] for row in rows}
    finally:
        await connection.close()


def _measure(service: OurService, receivers: Receivers, seconds: float, *, test: bool) -> Heard:
    body = _body(service.target, receivers.urls[0], test=test)
    began = time.perf_counter()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        ids = runner.run(_offer(service.target, body, seconds))
    came = _wait(receivers, ids)
    heard = Heard(jobs_per_second=len(ids) / (time.perf_counter() - began))
    callbacks = asyncio.run(_callbacks(service.dsn))
    for job in ids:
        if job not in callbacks:
            continue  # it was judged by a poll before the callback came
        for kind in ("job.callback", "job.succeeded"):
            if (job, kind) in came:
                heard.latencies.setdefault(kind, []).append(came[job, kind] - callbacks[job])
    return heard


def _shown(latencies: Sequence[float]) -> str:
    low, middle, high = (1000 * percentile(latencies, share) for share in (0.5, 0.95, 0.99))
    return f"p95 {middle:.0f} ms, p50 {low:.0f} ms, p99 {high:.0f} ms"


def _row(name: str, heard: Heard, kind: str) -> Row:
    latencies = heard.latencies.get(kind, [])
    if not latencies:
        raise Broken(f"hearing: no {kind} came for a job with a callback")
    return Row(
        f"callback in to signed webhook received, {name}",
        ASKED,
        _shown(latencies),
        f"{RATE:.0f} jobs/s offered, {heard.jobs_per_second:.1f}/s carried through to the last webhook",
        percentile(latencies, 0.95),
    )


def _bench(world: World, folder: Path, size: Size, profile: Path | None) -> tuple[Heard, Heard]:
    with (
        running_receivers(folder, 1, bodies=True) as receivers,
        OurService(world, "all", "hearing", folder, profile) as service,
    ):
        try:
            _measure(service, receivers, size.warm_up, test=False)
            real = _measure(service, receivers, size.seconds, test=False)
            tests = _measure(service, receivers, size.seconds, test=True)
            service.alive()
        except Broken as broken:
            raise Broken(f"{broken}\n{service.tail()}") from broken
    return real, tests


def bench_hearing(console: Console, folder: Path, size: Size, profile: Path | None = None) -> list[Row]:
    """Measure whole jobs and test jobs; returns the rows. Raises Broken when a webhook does not come."""
    with running_world(folder) as world:
        real, tests = _bench(world, folder, size, profile)
    rows = [
        _row("job.callback, after the read-back", real, "job.callback"),
        _row("job.succeeded, after read-back, download and PutObject", real, "job.succeeded"),
        _row("job.succeeded of a test job", tests, "job.succeeded"),
    ]
    for row in rows:
        console.print(f"{row.what}: {row.measured}; {row.compared}")
    return rows
