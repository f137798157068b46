"""The closed-loop client of the pipeline bench: cheap, and the same for both sides."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import uvloop

from tests.bench.processes import Broken

OPEN = {"queued", "submitting", "running", "copying"}
JOB_SECONDS = 180.0


@dataclass(frozen=True, slots=True)
class Target:
    """Where jobs go: `POST` of `body` to `url` answers 202 with an id, `GET url/{id}?wait=60` holds until the end."""

    url: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(slots=True)
class Outcome:
    """What became of a load: seconds from first to last, seconds per job, and what went wrong in words."""

    seconds: float = 0.0
    succeeded: list[str] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    mistakes: list[str] = field(default_factory=list)


async def _one_job(session: aiohttp.ClientSession, target: Target) -> tuple[str, dict[str, Any]]:
    async with session.post(target.url, data=target.body) as reply:
        if reply.status != 202:
            return "", {"status": f"submit answered {reply.status}", "error": (await reply.text())[:500]}
        job: dict[str, Any] = json.loads(await reply.read())
    deadline = time.monotonic() + JOB_SECONDS
    job_id = str(job["id"])
    while job["status"] in OPEN and time.monotonic() < deadline:
        async with session.get(f"{target.url}/{job_id}?wait=60") as reply:
            if reply.status != 200:
                return job_id, {"status": f"look-up answered {reply.status}", "error": (await reply.text())[:500]}
            job = json.loads(await reply.read())
    return job_id, job


async def _client(session: aiohttp.ClientSession, target: Target, numbers: Iterator[int], outcome: Outcome) -> None:
    for _ in numbers:
        began = time.perf_counter()
        job_id, job = await _one_job(session, target)
        outcome.latencies.append(time.perf_counter() - began)
        if job["status"] == "succeeded":
            outcome.succeeded.append(job_id)
        else:
            outcome.mistakes.append(f"{job_id}: {job['status']}: {job.get('error')}")


async def _run(target: Target, jobs: int, in_flight: int) -> Outcome:
    outcome = Outcome()
    numbers = iter(range(jobs))  # shared: whichever client is free takes the next
    headers = {"Content-Type": "application/json", **target.headers}
    timeout = aiohttp.ClientTimeout(total=90)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, headers=headers, timeout=timeout) as session:
        began = time.perf_counter()
        await asyncio.gather(*(_client(session, target, numbers, outcome) for _ in range(in_flight)))
        outcome.seconds = time.perf_counter() - began
    return outcome


def run_load(target: Target, jobs: int, in_flight: int) -> Outcome:
    """Carry `jobs` jobs through the target, `in_flight` at a time, each one watched to its end."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_run(target, jobs, in_flight))


async def _submit_only(target: Target, jobs: int, in_flight: int) -> list[str]:
    ids: list[str] = []
    numbers = iter(range(jobs))
    headers = {"Content-Type": "application/json", **target.headers}

    async def client(session: aiohttp.ClientSession) -> None:
        for _ in numbers:
            async with session.post(target.url, data=target.body) as reply:
                if reply.status != 202:
                    raise Broken(f"submit answered {reply.status}: {(await reply.text())[:500]}")
                ids.append(str(json.loads(await reply.read())["id"]))

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), headers=headers) as session:
        await asyncio.gather(*(client(session) for _ in range(in_flight)))
    return ids


def submit_only(target: Target, jobs: int, in_flight: int) -> list[str]:
    """Submit jobs and return their ids without waiting for what becomes of them; raises Broken when one is refused."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_submit_only(target, jobs, in_flight))
