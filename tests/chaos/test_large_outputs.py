"""Workers killed or stopped while they write an output in parts: afterwards one object, and no upload that is open."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import boto3
import pytest

from config.loading import load_settings
from service.app import running_service
from service.db.embedded import EmbeddedServer
from service.demo.s3server import S3Server
from service.engine.uploads import sweep_uploads
from tests.chaos.ground import FAST, Ground, ground
from tests.database import fresh_database
from tests.outputs.flowing import picture
from tests.world import environment, free_port, until

AT_A_TIME = 4
PART = 5 * 2**20
IN_PARTS = {"GENRELAY_OUTPUTS__WHOLE_BYTES": "65536", "GENRELAY_OUTPUTS__PART_BYTES": str(PART)}
LARGE = picture(2 * PART + 1000)
KILLED_AT = [
    *("copy.upload_begun", "copy.upload_created", "copy.upload_named", "copy.part_sent", "copy.part_sent:3"),
    *("copy.downloaded", "copy.fixed_before_commit", "copy.fixed", "copy.put", "copy.stored_before_commit"),
    "copy.stored",
]
STOPPED_AT = [*KILLED_AT[:4], "copy.downloaded", "copy.fixed", "copy.put", "copy.stored_before_commit"]


def serve_large_files(on: Ground) -> None:
    """Let every image of the sandbox be one that does not fit into one part."""
    on.sandbox.settings = replace(on.sandbox.settings, lean=True)
    on.sandbox.lean_jpeg = LARGE


def open_uploads(on: Ground) -> list[str]:
    client = boto3.client(
        "s3", endpoint_url=on.s3.endpoint_url, region_name=on.s3.region,
        aws_access_key_id=on.s3.access_key_id, aws_secret_access_key=on.s3.secret_access_key,
    )  # fmt: skip
    found = client.list_multipart_uploads(Bucket=on.bucket, Prefix=f"{on.path}/").get("Uploads", ())
    return [upload["Key"] for upload in found]


async def sweep_until_nothing_is_left(on: Ground) -> None:
    """Sweep as a worker does every minute, until no upload is known and none is open."""
    given = environment(port=free_port(), sandbox_url=on.sandbox_url, database_url=on.database_url, **FAST)
    async with running_service(load_settings(given), "api") as service:

        async def nothing_is_left() -> bool:
            await sweep_uploads(service.context)
            return not await on.fetch("SELECT FROM uploads")

        await until(nothing_is_left)
    assert await asyncio.to_thread(open_uploads, on) == []


@asynccontextmanager
async def large_ground(point: str, url: str, s3: S3Server, folder: Path) -> AsyncIterator[Ground]:
    """Lend a ground of large outputs; a failure on it says where, and what the processes wrote."""
    async with ground(url, s3, folder, **IN_PARTS) as on:
        serve_large_files(on)
        try:
            yield on
        except BaseException as error:
            error.add_note(f"at {point}\n{on.logs()}")
            raise


async def all_at(
    points: list[str],
    act: Callable[[Ground, str], Awaitable[None]],
    postgres: EmbeddedServer,
    s3: S3Server,
    folder: Path,
) -> None:
    async def one(point: str) -> None:
        (own := folder / point.replace(":", "-")).mkdir()
        async with fresh_database(postgres) as url, large_ground(point, url, s3, own) as on:
            await act(on, point)

    async with asyncio.TaskGroup() as group:
        for point in points:
            group.create_task(one(point))


def in_groups(points: list[str]) -> pytest.MarkDecorator:
    groups = [points[i : i + AT_A_TIME] for i in range(0, len(points), AT_A_TIME)]
    return pytest.mark.parametrize("points", groups, ids=" ".join)


@in_groups(KILLED_AT)
async def test_a_large_output_is_stored_once_although_its_process_is_killed_at(
    points: list[str], postgres: EmbeddedServer, s3_server: S3Server, tmp_path: Path
) -> None:
    async def kill_and_recover(on: Ground, point: str) -> None:
        async with on.process(GENRELAY_CRASH_AT=point) as doomed:
            await on.put_destination()
            job = await on.submit()
            assert await doomed.ended() == -signal.SIGKILL, f"it never came to {point}"
        async with on.process():
            ended = await on.end(job)
            assert ended["status"] == "succeeded", ended
            await on.check(ended, stored=1)
        await sweep_until_nothing_is_left(on)
        async with on.process("api"):
            await on.check(ended, stored=1)

    await all_at(points, kill_and_recover, postgres, s3_server, tmp_path)


@in_groups(STOPPED_AT)
async def test_a_large_output_is_stored_once_although_its_worker_is_stopped_and_taken_over_at(
    points: list[str], postgres: EmbeddedServer, s3_server: S3Server, tmp_path: Path
) -> None:
    async def stop_and_take_over(on: Ground, point: str) -> None:
        async with on.process("api"), on.worker(GENRELAY_STOP_AT=point) as stopped:
            await on.put_destination()
            job = await on.submit()
            await stopped.stopped()
            async with on.worker():
                ended = await on.end(job)
                assert ended["status"] == "succeeded", ended
                await sweep_until_nothing_is_left(on)
                stopped.send(signal.SIGCONT)
                assert await stopped.terminate() == 0, stopped.tail()
                assert await on.job(job) == ended, "what a worker does too late changes nothing"
                await on.check(ended, stored=1)
        await sweep_until_nothing_is_left(on)

    await all_at(points, stop_and_take_over, postgres, s3_server, tmp_path)
