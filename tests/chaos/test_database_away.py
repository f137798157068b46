"""PostgreSQL goes away and comes back: no process needs a restart, no job is lost."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from service.db.embedded import EmbeddedServer, control
from service.demo.s3server import S3Server
from tests.chaos.ground import Ground, ground
from tests.chaos.own_server import own_server
from tests.chaos.proxy import Proxy, unix_proxy
from tests.world import job_body, txt2img, until

__all__ = ["own_server"]
QUIET = {"GENRELAY_ENGINE__SWEEP_SECONDS": "60", "GENRELAY_RECONCILE__FIRST_SECONDS": "60"}


async def check_that_it_says_so(on: Ground, job: dict[str, object], callback_url: str) -> None:
    async with on.client() as client:
        callback = await client.post(callback_url, content=b"{}")
        assert callback.status_code == 503
        assert int(callback.headers["retry-after"]) > 0
        for answer in (await client.get(f"/v1/jobs/{job['id']}"), await client.post("/v1/jobs", json=job_body())):
            assert answer.status_code == 503
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["code"] == "unavailable"
            assert int(answer.headers["retry-after"]) > 0
        assert (await client.get("/readyz")).status_code == 503
        assert (await client.get("/livez")).status_code == 200, "a restart of ours would not help"


@pytest.mark.parametrize("mode", ["fast", "immediate"])
async def test_jobs_end_well_although_postgresql_is_shut_down_in_the_middle(
    mode: str, own_server: tuple[EmbeddedServer, Path], s3_server: S3Server, tmp_path: Path
) -> None:
    server, folder = own_server
    async with ground(server.dsn, s3_server, tmp_path) as on, on.process() as process:
        await on.put_destination()
        held = await on.submit("a lighthouse [fault:held]")
        running = await on.until_status(held, "running")
        copied = await on.submit("a harbour [fault:slow_image=2]", input=txt2img("a harbour [fault:slow_image=2]"))
        await on.until_status(copied, "copying")
        submitted = await on.submit("a mountain [fault:hang=2]")
        await on.until_submitted(3)
        await asyncio.to_thread(control, folder, "stop", "-m", mode)

        await check_that_it_says_so(on, held, on.sandbox.submits[0].callback_url or "")
        on.sandbox.release(running["provider_task_id"])
        # The answer to the third submit arrives while there is nothing to write it to.
        await until(lambda: says(process.said("job.outcome_held")))

        await asyncio.to_thread(control, folder, "restart")
        ends = [await on.end(job) for job in (held, copied, submitted)]
        assert [job["status"] for job in ends] == ["succeeded"] * 3, on.logs()
        await on.check(*ends, stored=1)
        async with on.client() as client:
            await until(lambda: is_ready(client))
        assert process.said("service.listening") == 1


async def says(count: int) -> bool:
    return count > 0


async def is_ready(client: httpx.AsyncClient) -> bool:
    return (await client.get("/readyz")).status_code == 200


def behind(proxy_folder: Path, database_url: str) -> str:
    """Return the DSN of the same database behind a proxy in another folder."""
    return database_url.partition("host=")[0] + f"host={proxy_folder}"


def socket_of(database_url: str) -> str:
    return database_url.partition("host=")[2].partition("&")[0] + "/.s.PGSQL.5432"


@pytest.fixture
async def proxied(database_url: str) -> AsyncIterator[tuple[Proxy, str]]:
    """A proxy in front of this test's database, and the DSN that goes through it."""
    with tempfile.TemporaryDirectory(prefix="genrelay-proxy-") as folder:
        async with unix_proxy(f"{folder}/.s.PGSQL.5432", socket_of(database_url)) as proxy:
            yield proxy, behind(Path(folder), database_url)


@pytest.mark.parametrize("arrives", [False, True], ids=["before it", "after it"])
async def test_a_callback_whose_commit_is_cut_off_is_not_acknowledged_and_its_repetition_is_kept(
    arrives: bool, proxied: tuple[Proxy, str], database_url: str, s3_server: S3Server, tmp_path: Path
) -> None:
    proxy, dsn = proxied
    async with (
        ground(database_url, s3_server, tmp_path, **QUIET) as on,
        on.process("api", GENRELAY_DATABASE_URL=dsn),
        on.worker(),
    ):
        await on.put_destination()
        job = await on.submit("a lighthouse [fault:stuck]")
        await on.until_status(job, "running")
        url = on.sandbox.submits[0].callback_url or ""
        async with on.client() as client:
            proxy.trip(b"COMMIT", arrives=arrives)
            refused = await client.post(url, content=b'{"a callback": 1}')
            assert refused.status_code == 503
            assert proxy.tripped.is_set()
            assert (await client.post(url, content=b'{"a callback": 1}')).status_code == 200
        # Nobody could know better: one that was committed without anybody hearing of it is a duplicate.
        rows = await on.fetch("SELECT * FROM callbacks")
        assert len(rows) == (2 if arrives else 1)


@pytest.mark.parametrize("arrives", [False, True], ids=["before it", "after it"])
async def test_a_submission_whose_commit_is_cut_off_makes_one_job_when_it_is_repeated(
    arrives: bool, proxied: tuple[Proxy, str], database_url: str, s3_server: S3Server, tmp_path: Path
) -> None:
    proxy, dsn = proxied
    async with (
        ground(database_url, s3_server, tmp_path, **QUIET) as on,
        on.process("api", GENRELAY_DATABASE_URL=dsn),
        on.worker(),
    ):
        await on.put_destination()
        async with on.client() as client:
            proxy.trip(b"COMMIT", arrives=arrives)
            headers = {"Idempotency-Key": "order-1"}
            refused = await client.post("/v1/jobs", json=job_body(), headers=headers)
            assert refused.status_code == 503
            taken = await client.post("/v1/jobs", json=job_body(), headers=headers)
            assert taken.status_code == 202
            assert taken.headers.get("idempotency-replayed") == ("true" if arrives else None)
        ended = await on.end(taken.json())
        assert ended["status"] == "succeeded"
        await on.check(ended, stored=1)
        assert len(await on.fetch("SELECT 1 FROM jobs")) == 1


async def test_work_and_long_polls_go_on_when_the_listening_sessions_are_ended(
    database_url: str, s3_server: S3Server, tmp_path: Path
) -> None:
    async with ground(database_url, s3_server, tmp_path, **QUIET) as on, on.process("api"), on.worker() as worker:
        await on.put_destination()
        held = await on.submit("a lighthouse [fault:held]")
        running = await on.until_status(held, "running")
        waiting = asyncio.create_task(on.end(held))
        cut = await on.fetch(
            "SELECT application_name, pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name IN ('genrelay queue', 'genrelay listener')"
        )
        assert {row["application_name"] for row in cut} == {"genrelay queue", "genrelay listener"}
        # The queue is the only way from one process to the other: the sweep comes in a minute.
        fresh = await on.end(await on.submit("a harbour"), seconds=10)
        on.sandbox.release(running["provider_task_id"])
        async with asyncio.timeout(10):
            ends = [await waiting, fresh]
        assert [job["status"] for job in ends] == ["succeeded"] * 2
        await on.check(*ends, stored=1)
        assert worker.said("worker.database_away") > 0
