"""Callbacks acknowledged durably, as a share of endpoints that do nothing, and how long an acknowledgement takes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from rich.console import Console

from service import ids
from service.callbacks import tokens
from service.crypto import Keyring
from tests.bench.callback_load import Plan, Result
from tests.bench.load import submit_only
from tests.bench.processes import ROOT, Broken, clean_environment
from tests.bench.report import Row, median, percentile, spread
from tests.bench.service_process import SECRET_KEY, OurService
from tests.bench.world import NOWHERE

# The service keeps 32 per run of a job, so that every callback of ours must be found again.
PER_JOB = 25
OFFERED = 1000.0
ASKED_SHARE = "25 %, then 40 %"
ASKED_P99 = "20 ms"


def mint_tokens(job_ids: Sequence[str]) -> list[str]:
    """Return a valid callback token for the first attempt of each of these jobs, made from the secret key alone."""
    keyring = Keyring([SECRET_KEY])
    return [tokens.mint(keyring, "novita", ids.read("job", job_id), 1) for job_id in job_ids]


@dataclass(frozen=True, slots=True)
class Size:
    """How much is run: posts per closed-loop round, rounds, seconds at the offered rate, connections."""

    posts: int = 20_000
    rounds: int = 5
    seconds: float = 10.0
    connections: int = 64

    @property
    def jobs(self) -> int:
        """Return how many jobs that takes, the warm-up round included."""
        return (self.rounds + 1) * _jobs_for(self.posts) + _jobs_for(round(self.seconds * OFFERED))


@dataclass(slots=True)
class Rates:
    """Posts a second of every round."""

    callbacks: list[float] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)
    naked: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)
    database_cpu_us: list[float] = field(default_factory=list)


def _jobs_for(posts: int) -> int:
    return -(-posts // PER_JOB)


def run_round(plan: Plan, folder: Path) -> Result:
    """Run one round in a process of its own; raises Broken when a post was not answered with 200."""
    file = folder / "callback-plan.json"
    file.write_text(json.dumps(asdict(plan)))
    command = [sys.executable, "-m", "tests.bench.callback_load", str(file)]
    done = subprocess.run(command, cwd=ROOT, env=clean_environment(), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Broken(f"the load generator failed: {done.stderr[-2000:]}")
    answer: dict[str, Any] = json.loads(done.stdout)
    result = Result(**answer)
    if result.lost or result.answered != {"200": plan.count}:
        raise Broken(f"{plan.paths[0].split('/')[1]}: answers {result.answered}, {result.lost} lost of {plan.count}")
    return result


class Bench:
    """The rounds against one running service."""

    def __init__(self, service: OurService, size: Size, folder: Path) -> None:
        self._service = service
        self._size = size
        self._folder = folder
        self.job_ids = submit_only(service.target, size.jobs, 16)
        self._paths = iter([f"/v1/callbacks/novita/{token}" for token in mint_tokens(self.job_ids)])
        self.acknowledged = 0

    def _run(self, paths: Sequence[str], posts: int, rate: float = 0.0) -> Result:
        plan = Plan(self._service.port, paths, posts, self._size.connections, rate)
        return run_round(plan, self._folder)

    def callbacks(self, posts: int, rate: float = 0.0) -> Result:
        """Post callbacks for jobs that have had none yet."""
        result = self._run(list(islice(self._paths, _jobs_for(posts))), posts, rate)
        self.acknowledged += posts
        return result

    def idle(self, path: str, posts: int, rate: float = 0.0) -> Result:
        """Post the same bodies to an endpoint that does nothing."""
        return self._run([path], posts, rate)

    def rounds(self, console: Console) -> Rates:
        """Run the closed-loop rounds, alternating."""
        rates, posts = Rates(), self._size.posts
        self.callbacks(posts)
        self.idle("/bare", posts)
        for _ in range(self._size.rounds):
            own, database = self._service.cpu_seconds()
            rates.callbacks.append(posts / self.callbacks(posts).seconds)
            own_after, database_after = self._service.cpu_seconds()
            rates.cpu_us.append(1e6 * (own_after - own) / posts)
            rates.database_cpu_us.append(1e6 * (database_after - database) / posts)
            rates.bare.append(posts / self.idle("/bare", posts).seconds)
            rates.naked.append(posts / self.idle("/naked", posts).seconds)
            console.print(
                f"callbacks {rates.callbacks[-1]:,.0f}/s, bare {rates.bare[-1]:,.0f}/s, naked {rates.naked[-1]:,.0f}/s"
            )
        return rates

    def stored(self) -> int:
        """Return how many callbacks the service shows for our jobs."""
        with self._service.client() as client, ThreadPoolExecutor(8) as pool:

            def count(job_id: str) -> int:
                reply = client.get(f"/v1/jobs/{job_id}/callbacks", params={"limit": 100})
                return len(reply.raise_for_status().json()["data"])

            return sum(pool.map(count, self.job_ids))


def _share_row(rates: Rates) -> Row:
    share = median([mine / theirs for mine, theirs in zip(rates.callbacks, rates.bare, strict=True)])
    naked = median([mine / theirs for mine, theirs in zip(rates.callbacks, rates.naked, strict=True)])
    return Row(
        "callbacks acknowledged durably, of a bare endpoint in the same app",
        ASKED_SHARE,
        f"{100 * share:.0f} % ({median(rates.callbacks):,.0f}/s, {spread(rates.callbacks)}; "
        f"CPU {median(rates.cpu_us):.0f} us ours, {median(rates.database_cpu_us):.0f} us PostgreSQL each)",
        f"bare {median(rates.bare):,.0f}/s; {100 * naked:.0f} % of a Starlette app with nothing around it "
        f"({median(rates.naked):,.0f}/s)",
        share,
    )


def _latency_row(callbacks: Result, idle: Result) -> Row:
    def shown(result: Result) -> str:
        low, high = (1000 * percentile(result.latencies, share) for share in (0.5, 0.99))
        return f"p99 {high:.1f} ms, p50 {low:.1f} ms"

    p99 = percentile(callbacks.latencies, 0.99)
    asked = f"p99 {ASKED_P99}"
    return Row(
        f"acknowledgement at {OFFERED:,.0f} callbacks/s offered", asked, shown(callbacks), f"bare {shown(idle)}", p99
    )


def bench_callbacks(console: Console, folder: Path, size: Size, profile: Path | None = None) -> list[Row]:
    """Measure a service without workers; returns the rows. Raises Broken when a callback was lost."""
    with OurService(NOWHERE, "api", "callbacks", folder, profile) as service:
        try:
            bench = Bench(service, size, folder)
            rates = bench.rounds(console)
            posts = round(size.seconds * OFFERED)
            idle, offered = bench.idle("/bare", posts, OFFERED), bench.callbacks(posts, OFFERED)
            stored = bench.stored()
            service.alive()
        except Broken as broken:
            raise Broken(f"{broken}\n{service.tail()}") from broken
    if stored != bench.acknowledged:
        raise Broken(f"{bench.acknowledged} callbacks were acknowledged, but {stored} are stored")
    return [_share_row(rates), _latency_row(offered, idle)]
