"""Deliveries a second to many endpoints, beside a bare loop that posts to the same ones, with and without a dead one."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import asyncpg
from rich.console import Console

from service.ids import new_uuid
from tests.bench import cpu
from tests.bench.processes import ROOT, Broken, clean_environment
from tests.bench.receivers import Receivers, running_receivers
from tests.bench.report import Row, median, spread
from tests.bench.service_process import OurService, service_with_database
from tests.bench.world import NOWHERE

ENDPOINTS = 100
ASKED = "500/s"
_AT_A_TIME = 128  # as many as the service has under way by default
_SECONDS = 180.0


@dataclass(frozen=True, slots=True)
class Size:
    """How much is run: events to each endpoint in a round, and rounds."""

    each: int = 60
    rounds: int = 3


QUICK = Size(30, 1)

_JOB = """
INSERT INTO jobs (id, account_id, provider, operation, status, destination, destination_id, deadline_seconds, deadline_at,
                  images, completed_at)
SELECT $1, account_id, 'novita', 'txt2img', 'canceled', name, id, 3600, now(), 1, now()
FROM destinations WHERE name = 'bench'
"""
_EVENTS = """
INSERT INTO events (id, job_id, account_id, sequence, run, type, time, data)
SELECT id, $1, (SELECT account_id FROM jobs WHERE id = $1), number, 1, 'job.progress', now(), $3::text::jsonb
FROM unnest($2::uuid[]) WITH ORDINALITY AS given (id, number)
"""


def _data(job: str) -> str:
    """Return the data of an event of ordinary size: about 1.5 kB."""
    output = {
        "index": 0, "kind": "image", "status": "stored", "media_type": "image/jpeg", "bytes": 183_204, "width": 1024,
        "height": 1024, "sha256": "0" * 64, "bucket": "acme-renders", "key": f"renders/{job}/00.jpeg",
        "url": f"s3://acme-renders/renders/{job}/00.jpeg", "nsfw": {"valid": True, "confidence": 0},
    }  # fmt: skip
    shown = {
        "id": job, "object": "job", "status": "running", "test": False, "provider": "novita", "operation": "txt2img",
        "provider_task_id": "0" * 36, "provider_status": "TASK_STATUS_PROCESSING", "progress": 50, "run": 1,
        "outputs": [output, output], "error": None, "metadata": {"order": "42"}, "destination": "acme",
        "links": {"self": f"/v1/jobs/{job}"},
    }  # fmt: skip
    return json.dumps({"sequence": 1, "job": shown})


async def _write_events(dsn: str, count: int) -> None:
    """Write events as the engine does, and let them be placed: that wakes whoever delivers."""
    connection = await asyncpg.connect(dsn)
    try:
        job = new_uuid()
        async with connection.transaction():
            await connection.execute(_JOB, job)
            await connection.execute(_EVENTS, job, [new_uuid() for _ in range(count)], _data(str(job)))
        await connection.execute("SELECT place_events(100000)")
    finally:
        await connection.close()


async def _recorded(dsn: str) -> dict[str, int]:
    connection = await asyncpg.connect(dsn)
    try:
        rows = await connection.fetch("SELECT status, count(*) AS count FROM deliveries GROUP BY status")
        return {row["status"]: row["count"] for row in rows}
    finally:
        await connection.close()


def _subscribe(service: OurService, receivers: Receivers) -> None:
    with service.client() as client:
        for url in receivers.urls:
            client.post("/v1/subscriptions", json={"url": url, "event_types": ["job.*"]}).raise_for_status()


@dataclass(frozen=True, slots=True)
class Round:
    """Deliveries a second, and CPU in milliseconds for each: of our process, and of PostgreSQL's."""

    rate: float
    cpu_ms: float
    database_cpu_ms: float


def _run(
    receivers: Receivers, dsn: str, each: int, endpoints: int, cpu_seconds: Callable[[], tuple[float, float]]
) -> Round:
    """Deliver so many events to each of the endpoints that live; the clock runs from the first arrival to the last."""
    receivers.take()
    own, database = cpu_seconds()
    asyncio.run(_write_events(dsn, each))
    came: dict[tuple[int, str], float] = {}
    deadline = time.monotonic() + _SECONDS
    while len(came) < each * endpoints:
        if time.monotonic() > deadline:
            raise Broken(f"deliveries: {len(came)} of {each * endpoints} came in {_SECONDS:.0f} s")
        time.sleep(0.2)
        for one in receivers.take():
            if one["endpoint"] <= endpoints:
                came.setdefault((one["endpoint"], one["id"]), one["at"])
    own_after, database_after = cpu_seconds()
    count, seconds = len(came), max(came.values()) - min(came.values())
    return Round(count / seconds, 1000 * (own_after - own) / count, 1000 * (database_after - database) / count)


def _post_bare(receivers: Receivers, folder: Path, each: int, body: str) -> float:
    """Return the posts a second of the bare loop."""
    plan = folder / "posting-plan.json"
    plan.write_text(json.dumps({"urls": receivers.urls, "each": each, "at_a_time": _AT_A_TIME, "body": body}))
    command = [sys.executable, "-m", "tests.bench.posting", str(plan)]
    done = subprocess.run(command, cwd=ROOT, env=clean_environment(), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Broken(f"the bare loop failed: {done.stderr[-2000:]}")
    return each * len(receivers.urls) / float(done.stdout)


def _bench(
    console: Console, folder: Path, size: Size, dead: int, profile: Path | None
) -> tuple[list[Round], list[float]]:
    name = f"deliveries-{dead}-dead"
    living = ENDPOINTS - dead
    ours: list[Round] = []
    bare: list[float] = []
    with (
        running_receivers(folder, ENDPOINTS, dead) as receivers,
        service_with_database(NOWHERE, name, folder, {}, profile) as (service, dsn),
    ):

        def cpu_seconds() -> tuple[float, float]:
            return cpu.read_cpu([service.pid]), cpu.read_cpu(cpu.postmasters(folder / f"pg-{name}"))

        _subscribe(service, receivers)
        try:
            _run(receivers, dsn, max(2, size.each // 10), living, cpu_seconds)
            for _ in range(size.rounds):
                ours.append(_run(receivers, dsn, size.each, living, cpu_seconds))
                if not dead:
                    bare.append(_post_bare(receivers, folder, size.each, _data("job")))
                said = f", bare {bare[-1]:,.0f}/s" if bare else ""
                console.print(
                    f"deliveries to {ENDPOINTS}, {dead} dead: {ours[-1].rate:,.0f}/s, {ours[-1].cpu_ms:.2f} ms CPU each"
                    f" + {ours[-1].database_cpu_ms:.2f} ms PostgreSQL{said}"
                )
            service.alive()
        except Broken as broken:
            raise Broken(f"{broken}\n{asyncio.run(_recorded(dsn))}\n{service.tail()}") from broken
    return ours, bare


def _row(ours: list[Round], bare: list[float]) -> Row:
    rates = [each.rate for each in ours]
    share = median([mine / theirs for mine, theirs in zip(rates, bare, strict=True)])
    return Row(
        f"deliveries a second to {ENDPOINTS} endpoints",
        ASKED,
        f"{median(rates):,.0f}/s ({spread(rates)}); CPU {median([each.cpu_ms for each in ours]):.2f} ms ours, "
        f"{median([each.database_cpu_ms for each in ours]):.2f} ms PostgreSQL each",
        f"{100 * share:.0f} % of a bare httpx loop to the same ones, {median(bare):,.0f}/s ({spread(bare)})",
        share,
    )


def bench_deliveries(console: Console, folder: Path, size: Size, profile: Path | None = None) -> list[Row]:
    """Measure both; returns the rows. Raises Broken when a delivery does not come."""
    ours, bare = _bench(console, folder, size, 0, profile)
    if profile is not None:
        return []
    beside, _ = _bench(console, folder, size, 1, None)
    rates = [each.rate for each in beside]
    share = median(rates) / median([each.rate for each in ours])
    return [
        _row(ours, bare),
        Row(
            f"the same with 1 dead endpoint among the {ENDPOINTS}",
            "costs the others nothing",
            f"{median(rates):,.0f}/s to the other {ENDPOINTS - 1} ({spread(rates)})",
            f"{100 * share:.0f} % of the rate without it",
            share,
        ),
    ]
