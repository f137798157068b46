"""The S3 server goes away during a copy: the job waits and succeeds, and there are never two objects."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest

from service.demo.s3server import S3Server
from tests.chaos.ground import ground
from tests.chaos.proxy import tcp_proxy
from tests.world import txt2img, until


async def test_a_job_waits_for_its_bucket(database_url: str, s3_server: S3Server, tmp_path: Path) -> None:
    where = urlsplit(s3_server.endpoint_url)
    async with (
        tcp_proxy(where.hostname or "", where.port or 0) as (proxy, port),
        ground(database_url, s3_server, tmp_path, endpoint_url=f"http://127.0.0.1:{port}") as on,
        on.process() as process,
    ):
        await on.put_destination()
        proxy.cut()
        job = await on.submit(input=txt2img(image_num=2))

        async def refused() -> bool:
            return process.said("output.not_stored") > 1

        await until(refused)
        assert (await on.job(job))["status"] == "copying"
        proxy.mend()
        ended = await on.end(job)
        assert ended["status"] == "succeeded"
        await on.check(ended, stored=2)


@pytest.mark.parametrize("arrives", [False, True], ids=["before it arrives", "before it is answered"])
async def test_a_write_that_is_cut_off_leaves_one_object(
    arrives: bool, database_url: str, s3_server: S3Server, tmp_path: Path
) -> None:
    where = urlsplit(s3_server.endpoint_url)
    async with (
        tcp_proxy(where.hostname or "", where.port or 0) as (proxy, port),
        ground(database_url, s3_server, tmp_path, endpoint_url=f"http://127.0.0.1:{port}") as on,
        on.process(),
    ):
        await on.put_destination()
        proxy.trip(b"PUT /", arrives=arrives)
        ended = await on.end(await on.submit())
        assert proxy.tripped.is_set()
        assert ended["status"] == "succeeded"
        await on.check(ended, stored=1)
