"""Copies from a provider into a bucket beside `s5cmd`, which goes both ways on the same server; and their memory."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import boto3
import httpx
import psutil
from botocore.config import Config
from rich.console import Console

from tests.bench.given import run_copies
from tests.bench.pictures import jpeg_of
from tests.bench.processes import Broken, Child, clean_environment, port_file
from tests.bench.report import Row, median, spread
from tests.bench.service_process import service_with_database
from tests.bench.world import NOWHERE, Storage, World, count_objects, running_storage

SOURCE = "source"
_ASKED = {100_000: 30, 1_000_000: 80, 8_000_000: 80}
_NAMES = {100_000: "100 kB", 1_000_000: "1 MB", 8_000_000: "8 MB"}
LARGE = 64 * 10**6
_BUDGET = 256 * 2**20


@dataclass(frozen=True, slots=True)
class Size:
    """How much is copied: files of each size per round, rounds, and large files for the memory."""

    files: dict[int, int]
    rounds: int = 3
    large: int = 1000


FULL = Size({100_000: 600, 1_000_000: 240, 8_000_000: 48})
QUICK = Size({100_000: 200, 1_000_000: 80, 8_000_000: 16}, rounds=1, large=60)


@dataclass(frozen=True, slots=True)
class Round:
    """Files a second: ours, and s5cmd's from the bucket into files and from files into the bucket."""

    ours: float
    down: float
    up: float

    @property
    def both(self) -> float:
        """Return s5cmd's rate when it goes both ways, one after the other."""
        return 1 / (1 / self.down + 1 / self.up)


def _fill(storage: Storage, size: int, count: int, folder: Path) -> list[str]:
    """Put files into the source bucket and into a folder; returns their signed URLs."""
    s3 = boto3.client(
        "s3", endpoint_url=storage.endpoint, region_name=storage.region,
        aws_access_key_id=storage.access_key_id, aws_secret_access_key=storage.secret_access_key,
        config=Config(s3={"addressing_style": "path"}, signature_version="s3v4"),
    )  # fmt: skip
    folder.mkdir(parents=True)
    urls = []
    for number in range(count):
        body = jpeg_of(size, number)
        (folder / f"{number:05}.jpeg").write_bytes(body)
        place = {"Bucket": SOURCE, "Key": f"{size}/{number:05}.jpeg"}
        s3.put_object(**place, Body=body)
        urls.append(s3.generate_presigned_url("get_object", Params=place, ExpiresIn=3600))
    return urls


def _s5cmd(storage: Storage, *arguments: str) -> float:
    """Run s5cmd and return the seconds it took."""
    keys = {"AWS_ACCESS_KEY_ID": storage.access_key_id, "AWS_SECRET_ACCESS_KEY": storage.secret_access_key}
    command = [str(Path(sys.executable).with_name("s5cmd")), "--endpoint-url", storage.endpoint, "--log", "error"]
    began = time.perf_counter()
    done = subprocess.run(
        [*command, "cp", *arguments],
        env=clean_environment({**keys, "AWS_REGION": storage.region}),
        capture_output=True,
        text=True,
        check=False,
    )
    took = time.perf_counter() - began
    if done.returncode != 0:
        raise Broken(f"s5cmd failed: {done.stderr[:500]}")
    return took


def _measure_round(storage: Storage, dsn: str, urls: Sequence[str], size: int, number: int, scratch: Path) -> Round:
    count = len(urls)
    files, fetched = scratch / f"{size}", scratch / f"fetched-{size}-{number}"
    fetched.mkdir()
    down = _s5cmd(storage, f"s3://{SOURCE}/{size}/*", f"{fetched}/")
    shutil.rmtree(fetched)
    ours = run_copies(dsn, [[url] for url in urls])
    up = _s5cmd(storage, f"{files}/", f"s3://{storage.bucket}/s5cmd-{size}-{number}/")
    return Round(count / ours, count / down, count / up)


def _row(size: int, rounds: Sequence[Round]) -> Row:
    share = median([each.ours / each.both for each in rounds])
    ours = [each.ours for each in rounds]
    down, up = median([each.down for each in rounds]), median([each.up for each in rounds])
    of_down = median([each.ours / each.down for each in rounds])
    of_up = median([each.ours / each.up for each in rounds])
    return Row(
        f"copying {_NAMES[size]}, as a share of s5cmd",
        f"{_ASKED[size]} %",
        f"{100 * share:.0f} % of both ways, {100 * of_down:.0f} % of its download, {100 * of_up:.0f} % of its upload "
        f"({median(ours):.1f}/s, {spread(ours, 1)}; {median(ours) * size / 1e6:.0f} MB/s)",
        f"s5cmd: {down:.0f}/s down, {up:.0f}/s up, {median([each.both for each in rounds]):.1f}/s both, one after the other",
        share,
    )


def bench_copies(console: Console, folder: Path, size: Size) -> list[Row]:
    """Copy small, middle and large files, in turns with s5cmd; returns the rows."""
    rows, scratch = [], folder / "copies"
    shutil.rmtree(scratch, ignore_errors=True)
    with (
        running_storage(SOURCE) as storage,
        service_with_database(World(NOWHERE.provider, storage), "copies", folder, {}) as (service, dsn),
    ):
        for each, count in size.files.items():
            urls = _fill(storage, each, count, scratch / f"{each}")
            run_copies(dsn, [[url] for url in urls[: count // 4]])  # warm up: connections, the bucket's first volume
            rounds = []
            for number in range(size.rounds):
                rounds.append(_measure_round(storage, dsn, urls, each, number, scratch))
                console.print(
                    f"{_NAMES[each]}: {rounds[-1].ours:.1f}/s; s5cmd {rounds[-1].down:.0f} down, {rounds[-1].up:.0f} up"
                )
            service.alive()
            found, wanted = (
                count_objects(storage, "copies/"),
                sum(size.rounds * n + n // 4 for s, n in size.files.items() if s <= each),
            )
            if found != wanted:
                raise Broken(f"copies: {wanted} outputs are stored, but the bucket has {found} objects")
            rows.append(_row(each, rounds))
    shutil.rmtree(scratch, ignore_errors=True)
    return rows


@contextmanager
def _running_sink(folder: Path) -> Iterator[str]:
    listening = port_file(folder, "sink")
    command = [sys.executable, "-m", "tests.bench.sink", "--port-file", str(listening)]
    with Child("sink", command, folder / "sink.log", clean_environment()) as child:
        yield f"http://127.0.0.1:{child.wait_for_port(listening)}"
        child.alive()


def bench_memory(console: Console, folder: Path, size: Size) -> list[Row]:
    """Copy large files, all of them in flight at once, into an S3 that forgets; returns the row about memory."""
    with _running_sink(folder) as sink:
        storage = Storage(sink, "bench")
        extra = {
            "GENRELAY_OUTPUTS__MEMORY_BYTES": str(_BUDGET),
            "GENRELAY_OUTPUTS__CONCURRENCY": str(size.large),
            "GENRELAY_OUTPUTS__MAX_ATTEMPTS": "3",
        }
        with service_with_database(World(NOWHERE.provider, storage), "memory", folder, extra) as (service, dsn):
            process = psutil.Process(service.pid)
            idle = process.memory_info().rss
            seen: list[int] = []
            jobs = [[f"{sink}/source/{LARGE}.wav"] for _ in range(size.large)]
            took = run_copies(
                dsn, jobs, kind="audio", watch=lambda: seen.append(process.memory_info().rss), seconds=3600
            )
            service.alive()
            told = json.loads(httpx.get(f"{sink}/told", trust_env=False).text)
    _insist_on_all(told, size.large)
    later = seen[len(seen) // 10 :]
    megabytes = [value / 2**20 for value in (idle, max(seen), min(later), max(later))]
    console.print(f"memory: {megabytes[0]:.0f} MiB idle, {megabytes[1]:.0f} MiB at most; {told}")
    # docs/outputs.md: the buffers of the files that hold memory, 24 MiB each, and of those that are being opened.
    buffers = _BUDGET // (24 * 2**20) + 64
    formula = (idle + _BUDGET) / 2**20 + buffers
    return [
        Row(
            f"memory while {size.large:,} x 64 MB are in flight",
            "flat, as the formula",
            f"{megabytes[1]:.0f} MiB at most ({megabytes[2]:.0f}-{megabytes[3]:.0f} after the first tenth), "
            f"{size.large * LARGE / took / 1e6:.0f} MB/s",
            f"formula: {megabytes[0]:.0f} MiB idle + {_BUDGET // 2**20} MiB budget + {buffers} MiB = {formula:.0f} MiB",
            megabytes[1] / formula,
        )
    ]


def _insist_on_all(told: dict[str, int], count: int) -> None:
    if told["objects"] != count or told["bytes"] < count * LARGE:
        raise Broken(f"memory: {count} outputs of {LARGE} bytes were copied, but what arrived is {told}")
