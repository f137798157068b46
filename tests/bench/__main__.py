"""`python -m tests.bench`: prints how fast the service is, as ratios where it can.

A time never decides: the exit status is 1 only when something broke, that is when a job failed, an object is missing
in the bucket, or an acknowledged callback is not stored. Logs, profiles and the rows as JSON go to `bench-output/`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console

from tests.bench import callbacks, copies, deliveries, hearing, listeners, pipeline
from tests.bench.processes import ROOT, Broken
from tests.bench.report import Row, print_rows, write_rows
from tests.bench.service_process import Variant


def read_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument(
        "--only",
        choices=["callbacks", "pipeline", "reference", "copies", "memory", "deliveries", "hearing", "listeners"],
        help="run this part alone",
    )
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds: a glance, not a result")
    parser.add_argument(
        "--variant", choices=["all", "split", "both"], default="all", help="one process, or API and worker"
    )
    parser.add_argument("--jobs", type=int, help="jobs per run of the pipeline")
    parser.add_argument("--in-flight", type=int, default=48, help="jobs under way at a time")
    parser.add_argument("--pairs", type=int, help="pairs of runs, reference and ours")
    parser.add_argument(
        "--profile", action="store_true", help="run ours once under a sampling profiler, compare nothing"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "bench-output", help="folder for logs and results")
    return parser.parse_args()


def _pipeline_size(options: argparse.Namespace) -> pipeline.Size:
    jobs = options.jobs or (200 if options.quick else 600)
    pairs = options.pairs or (1 if options.quick else 3)
    return pipeline.Size(jobs, max(20, jobs // 10), options.in_flight, pairs)


def _callbacks_size(options: argparse.Namespace) -> callbacks.Size:
    return callbacks.Size(5_000, 3, 3.0) if options.quick else callbacks.Size()


def _variants(options: argparse.Namespace) -> list[Variant]:
    chosen: dict[str, list[Variant]] = {"all": ["all"], "split": ["split"], "both": ["all", "split"]}
    return chosen[options.variant]


def _profile(console: Console, options: argparse.Namespace) -> None:
    files: list[Path] = []
    if options.only in {None, "callbacks"}:
        bench = callbacks.bench_callbacks
        bench(console, options.out, _callbacks_size(options), options.out / "callbacks-profile.txt")
        files += options.out.glob("*-callbacks-profile.txt")
    if options.only in {None, "pipeline"}:
        for variant in _variants(options):
            files += pipeline.profile_pipeline(console, options.out, _pipeline_size(options), variant)
    if options.only == "deliveries":
        profile = options.out / "deliveries-profile.txt"
        deliveries.bench_deliveries(console, options.out, deliveries.QUICK, profile)
        files += options.out.glob("*-deliveries-profile.txt")
    if options.only == "hearing":
        hearing.bench_hearing(console, options.out, hearing.QUICK, options.out / "hearing-profile.txt")
        files += options.out.glob("*-hearing-profile.txt")
    for file in files:
        console.print(f"{file} (and {file.name}.folded for flame graphs)")


def _measure(console: Console, options: argparse.Namespace) -> None:
    rows: list[Row] = []
    if options.only in {None, "callbacks"}:
        rows += callbacks.bench_callbacks(console, options.out, _callbacks_size(options))
    if options.only in {None, "pipeline"}:
        rows += pipeline.bench_pipeline(console, options.out, _pipeline_size(options), _variants(options))
    size = copies.QUICK if options.quick else copies.FULL
    if options.only in {None, "copies"}:
        rows += copies.bench_copies(console, options.out, size)
    if options.only in {None, "memory"}:
        rows += copies.bench_memory(console, options.out, size)
    if options.only in {None, "deliveries"}:
        much = deliveries.QUICK if options.quick else deliveries.Size()
        rows += deliveries.bench_deliveries(console, options.out, much)
    if options.only in {None, "hearing"}:
        rows += hearing.bench_hearing(console, options.out, hearing.QUICK if options.quick else hearing.Size())
    if options.only in {None, "listeners"}:
        rows += listeners.bench_listeners(console, options.out, listeners.QUICK if options.quick else listeners.Size())
    if options.only == "reference":
        rows += pipeline.bench_reference(console, options.out, _pipeline_size(options))
    print_rows(console, rows)
    write_rows(options.out / "results.json", rows)


def main() -> int:
    """Run what was asked for; returns the exit status."""
    options = read_arguments()
    options.out = options.out.resolve()
    options.out.mkdir(parents=True, exist_ok=True)
    # In a pipe or a log file nobody gains from a table squeezed into 80 columns.
    console = Console(soft_wrap=True, highlight=False, width=None if sys.stdout.isatty() else 180)
    try:
        (_profile if options.profile else _measure)(console, options)
    except Broken as broken:
        console.print(f"broken: {broken}", style="bold red", markup=False)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
