"""Whole jobs a second and CPU per job: ours beside the same pipeline in memory, in alternating runs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from tests.bench import cpu
from tests.bench.load import Outcome, Target, run_load
from tests.bench.processes import Broken, Child, clean_environment, port_file
from tests.bench.report import Row, median, percentile, spread
from tests.bench.service_process import OurService, Variant
from tests.bench.world import API_KEY, World, count_objects, running_world

ASKED_SHARE = "90 %, then more than 100 %"
ASKED_CPU = "12 ms, then 8"


@dataclass(frozen=True, slots=True)
class Size:
    """How much is run: jobs per run after a warm-up, how many at a time, and how many pairs of runs."""

    jobs: int = 600
    warm_up: int = 60
    in_flight: int = 48
    pairs: int = 3


@dataclass(frozen=True, slots=True)
class Run:
    """What one run measured: CPU in milliseconds per job, latencies in seconds."""

    name: str
    jobs_per_second: float
    cpu_ms: float
    database_cpu_ms: float
    p50: float
    p95: float

    def line(self) -> str:
        """Return it in words."""
        database = f" + {self.database_cpu_ms:.1f} ms PostgreSQL" if self.database_cpu_ms else ""
        return (
            f"{self.name}: {self.jobs_per_second:.1f} jobs/s, {self.cpu_ms:.2f} ms CPU per job{database}, "
            f"a job takes {self.p50 * 1000:.0f} ms (p50), {self.p95 * 1000:.0f} ms (p95)"
        )


CpuReading = Callable[[], tuple[float, float]]


def _insist(outcome: Outcome, jobs: int, name: str) -> None:
    if outcome.mistakes or len(set(outcome.succeeded)) != jobs:
        shown = "\n".join(outcome.mistakes[:5])
        raise Broken(f"{name}: {len(set(outcome.succeeded))} of {jobs} jobs succeeded\n{shown}")


def measure(name: str, target: Target, size: Size, cpu_seconds: CpuReading) -> Run:
    """Warm a pipeline up, then carry a run's jobs through it."""
    _insist(run_load(target, size.warm_up, size.in_flight), size.warm_up, f"{name}, warming up")
    own, database = cpu_seconds()
    outcome = run_load(target, size.jobs, size.in_flight)
    own_after, database_after = cpu_seconds()
    _insist(outcome, size.jobs, name)
    return Run(
        name,
        size.jobs / outcome.seconds,
        1000 * (own_after - own) / size.jobs,
        1000 * (database_after - database) / size.jobs,
        percentile(outcome.latencies, 0.5),
        percentile(outcome.latencies, 0.95),
    )


def _insist_on_objects(world: World, path: str, size: Size) -> None:
    """Believe the bucket, not the job's word: one object per job, none empty."""
    wanted, found = size.warm_up + size.jobs, count_objects(world.storage, path + "/")
    if found != wanted:
        raise Broken(f"{path}: {wanted} jobs succeeded, but the bucket has {found} objects")


@contextmanager
def running_reference(world: World, path: str, folder: Path) -> Iterator[tuple[Child, Target]]:
    """Run the reference; yields its process and where its jobs are submitted."""
    listening = port_file(folder, path)
    storage = world.storage
    command = [sys.executable, "-m", "tests.bench.reference", "--port-file", str(listening)]
    command += ["--provider", world.provider, "--s3-endpoint", storage.endpoint, "--bucket", storage.bucket]
    command += ["--region", storage.region, "--path", path]
    secrets = {
        "REFERENCE_API_KEY": API_KEY,
        "REFERENCE_ACCESS_KEY_ID": storage.access_key_id,
        "REFERENCE_SECRET_ACCESS_KEY": storage.secret_access_key,
    }
    with Child("reference", command, folder / f"{path}.log", clean_environment(secrets)) as child:
        port = child.wait_for_port(listening)
        yield child, Target(f"http://127.0.0.1:{port}/jobs", b'{"prompt": "a lighthouse at dawn"}')


def run_reference(world: World, path: str, folder: Path, size: Size) -> Run:
    """Measure the reference on a fresh process."""
    with running_reference(world, path, folder) as (child, target):
        run = measure("reference", target, size, lambda: (cpu.read_cpu([child.pid]), 0.0))
        child.alive()
    _insist_on_objects(world, path, size)
    return run


def run_ours(world: World, path: str, folder: Path, size: Size, variant: Variant, profile: Path | None = None) -> Run:
    """Measure our service on a fresh process and a fresh database."""
    with OurService(world, variant, path, folder, profile) as service:
        try:
            run = measure(f"ours ({variant})", service.target, size, service.cpu_seconds)
            service.alive()
        except Broken as broken:
            raise Broken(f"{broken}\n{service.tail()}") from broken
    _insist_on_objects(world, path, size)
    return run


def _rows(variant: Variant, pairs: Sequence[tuple[Run, Run]]) -> list[Row]:
    references, ours = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    share = median([mine.jobs_per_second / theirs.jobs_per_second for theirs, mine in pairs])
    rate, their_rate = [run.jobs_per_second for run in ours], [run.jobs_per_second for run in references]
    own_cpu, their_cpu = median([run.cpu_ms for run in ours]), median([run.cpu_ms for run in references])
    database = median([run.database_cpu_ms for run in ours])
    return [
        Row(
            f"whole jobs a second, of the same pipeline in memory ({variant})",
            ASKED_SHARE,
            f"{100 * share:.0f} % ({median(rate):.1f}/s, {spread(rate)})",
            f"in memory {median(their_rate):.1f}/s ({spread(their_rate)})",
            share,
        ),
        Row(
            f"CPU of our processes per whole job ({variant})",
            ASKED_CPU,
            f"{own_cpu:.2f} ms",
            f"in memory {their_cpu:.2f} ms; PostgreSQL {database:.2f} ms beside ours",
            own_cpu,
        ),
    ]


def bench_pipeline(console: Console, folder: Path, size: Size, variants: Sequence[Variant]) -> list[Row]:
    """Run pairs of reference and ours, A B A B, for every variant; returns the rows."""
    rows = []
    with running_world(folder) as world:
        for variant in variants:
            pairs = []
            for number in range(size.pairs):
                reference = run_reference(world, f"reference-{variant}-{number}", folder, size)
                console.print(reference.line())
                ours = run_ours(world, f"ours-{variant}-{number}", folder, size, variant)
                console.print(ours.line())
                pairs.append((reference, ours))
            rows += _rows(variant, pairs)
    return rows


def bench_reference(console: Console, folder: Path, size: Size) -> list[Row]:
    """Run only the reference, as often as there would be pairs: how steady is what ours is compared with?"""
    with running_world(folder) as world:
        runs = [run_reference(world, f"reference-{number}", folder, size) for number in range(size.pairs)]
    for run in runs:
        console.print(run.line())
    rate, used = [run.jobs_per_second for run in runs], [run.cpu_ms for run in runs]
    return [
        Row("whole jobs a second in memory", "", f"{median(rate):.1f}/s", spread(rate), median(rate)),
        Row("CPU per whole job in memory", "", f"{median(used):.2f} ms", spread(used, 2), median(used)),
    ]


def profile_pipeline(console: Console, folder: Path, size: Size, variant: Variant) -> list[Path]:
    """Run ours once under the sampling profiler; returns the files it wrote."""
    with running_world(folder) as world:
        run = run_ours(world, f"profiled-{variant}", folder, size, variant, folder / "pipeline-profile.txt")
    console.print(f"{run.line()} (slower than without the profiler)")
    return sorted(folder.glob("*-pipeline-profile.txt"))
