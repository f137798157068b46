"""What is lost first is copied first, and told of before it is lost."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from config.loading import load_settings
from service.app import running_service
from service.db.sql import queries
from service.demo.s3server import S3Server
from service.engine.alerts import Alerts
from service.engine.ledger import decide_urgency
from service.engine.sweep import sweep
from service.jobs.lifecycle import Status
from service.jobs.model import urgent_at
from tests.engine.driven import Driven, driven_world, uuid
from tests.faulty_s3 import ACCESS_DENIED, FaultyS3
from tests.world import destination, txt2img, until

NOON = datetime(2027, 1, 1, 12, tzinfo=UTC)
WAITING = "expiring", "expired", "failed"


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


async def _expire(driven: Driven, job: dict[str, Any], index: int, seconds: float | None) -> None:
    """Let an output's source end so many seconds from now; None: nobody said when."""
    await driven.sql(
        "UPDATE outputs SET source_expires_at = now() + $3::interval WHERE job_id = $1 AND index = $2",
        uuid(job), index, None if seconds is None else timedelta(seconds=seconds),
    )  # fmt: skip


# --- When ------------------------------------------------------------------------------------------------------------


async def test_a_job_says_when_the_first_output_that_is_not_stored_is_lost(driven: Driven, faulty_s3: FaultyS3) -> None:
    await driven.client.put(
        "/v1/destinations/acme", json=destination(driven.s3, driven.bucket, endpoint_url=faulty_s3.endpoint_url)
    )
    job = await driven.copying(input=txt2img(image_num=2))
    assert job["source_expires_at"] == min(output["source_expires_at"] for output in job["outputs"])
    assert timedelta(minutes=50) < _time(job["source_expires_at"]) - datetime.now(UTC) < timedelta(hours=2)
    await _expire(driven, job, 0, 1000)
    await _expire(driven, job, 1, 2000)
    faulty_s3.inject(ACCESS_DENIED, "PutObject", key=f"renders/{job['id']}/01.jpeg")
    failed = await driven.copy(job)
    assert [output["status"] for output in failed["outputs"]] == ["stored", "writing"]
    assert failed["source_expires_at"] == failed["outputs"][1]["source_expires_at"]
    assert (await driven.retry(job)).json()["source_expires_at"] == failed["source_expires_at"]
    done = await driven.drive(job)
    assert (done["status"], done["source_expires_at"]) == ("succeeded", None)


async def test_a_bucket_that_refuses_is_told_of_with_the_time_that_is_left(driven: Driven, faulty_s3: FaultyS3) -> None:
    await driven.client.put(
        "/v1/destinations/acme", json=destination(driven.s3, driven.bucket, endpoint_url=faulty_s3.endpoint_url)
    )
    faulty_s3.inject(ACCESS_DENIED, "PutObject", times=None)
    job = await driven.copy(await driven.copying())
    assert job["error"]["code"] == "destination_denied"
    assert f"`retry` can save the outputs until {job['source_expires_at']}" in job["error"]["hint"]
    for seconds in (None, -60):
        await driven.retry(job)
        await _expire(driven, job, 0, seconds)
        job = await driven.copy(job)
        assert job["error"]["code"] == "destination_denied"
        assert "until" not in job["error"]["hint"], seconds


async def test_a_source_that_gives_nothing_is_not_said_to_be_there_still(driven: Driven) -> None:
    job = await driven.drive(await driven.called_back("a lighthouse [fault:image_404]"))
    assert job["error"]["code"] == "output_expired"
    assert "can save" not in job["error"]["hint"]


async def test_a_fresh_url_brings_a_fresh_time(driven: Driven) -> None:
    job = await driven.copying("a lighthouse [fault:expired]")
    await _expire(driven, job, 0, -60)
    await driven.sql("UPDATE jobs SET source_expires_at = now() - interval '1 minute'")
    after = await driven.copy(job)
    assert after["status"] == "copying"
    assert _time(after["source_expires_at"]) > datetime.now(UTC)
    assert after["source_expires_at"] == after["outputs"][0]["source_expires_at"]


# --- In which order --------------------------------------------------------------------------------------------------


def test_the_sooner_a_source_expires_the_higher_its_copy_stands_in_the_queue() -> None:
    soon, late = (decide_urgency(Status.COPYING, NOON + timedelta(seconds=seconds)) for seconds in (60, 61))
    assert soon > late
    assert decide_urgency(Status.RUNNING, NOON) == decide_urgency(Status.QUEUED, NOON) == 0


@pytest.mark.parametrize("time", [datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)])
def test_every_time_has_a_place_that_the_queue_can_hold(time: datetime) -> None:
    assert -(2**31) <= decide_urgency(Status.COPYING, time) < 2**31


def test_a_copy_whose_time_nobody_knows_goes_by_its_age() -> None:
    known, unknown = urgent_at(NOON + timedelta(hours=1), NOON), urgent_at(None, NOON)
    assert known < unknown < urgent_at(None, NOON + timedelta(seconds=1))
    # However many come that are known to live for an hour: a day later it is its turn.
    assert unknown < urgent_at(NOON + timedelta(hours=26), NOON + timedelta(hours=25))


@asynccontextmanager
async def _one_worker(driven: Driven) -> AsyncIterator[None]:
    """Run a worker beside the world that has none, which takes copies up one by one."""
    settings = {**driven.settings, "GENRELAY_OUTPUTS__CONCURRENCY": "1", "GENRELAY_ENGINE__SWEEP_SECONDS": "3600"}
    async with running_service(load_settings(settings), "worker"):
        yield


async def _taken_up(driven: Driven, jobs: list[dict[str, Any]]) -> list[str]:
    """Let a worker take the queue's copies up; returns whose they were, in the order in which they were taken."""
    queued = {row["id"]: UUID(bytes=row["payload"]) for row in await driven.sql("SELECT id, payload FROM pgqueuer")}
    assert set(queued.values()) >= {uuid(job) for job in jobs}
    await driven.sql("DELETE FROM pgqueuer_log")
    async with _one_worker(driven):
        for job in jobs:
            assert (await driven.end(job))["status"] == "succeeded"

        async def told() -> list[Any]:
            return await driven.sql("SELECT job_id FROM pgqueuer_log WHERE status = 'picked' ORDER BY id")  # type: ignore[no-any-return]

        rows = await until(told)
    names = {uuid(job): job["id"] for job in jobs}
    order = [names[queued[row["job_id"]]] for row in rows if queued.get(row["job_id"]) in names]
    return list(dict.fromkeys(order))


async def _three_to_retry(driven: Driven) -> list[dict[str, Any]]:
    """Return three failed jobs, in the order in which they were made; the last ones are lost first."""
    wrong = destination(driven.s3, "there-is-no-such-bucket")
    await driven.client.put("/v1/destinations/acme", json=wrong)
    jobs = [await driven.copy(await driven.copying()) for _ in range(3)]
    assert {job["error"]["code"] for job in jobs} == {"destination_denied"}
    await driven.client.put("/v1/destinations/acme", json=destination(driven.s3, driven.bucket))
    for job, seconds in zip(jobs, (None, 3000, 300), strict=True):
        await _expire(driven, job, 0, seconds)
    await driven.sql("DELETE FROM pgqueuer")
    return jobs


async def test_of_copies_that_wait_for_one_place_the_one_that_is_lost_first_goes_first(driven: Driven) -> None:
    jobs = await _three_to_retry(driven)
    for job in jobs:
        assert (await driven.retry(job)).status_code == 202
    assert await _taken_up(driven, jobs) == [job["id"] for job in reversed(jobs)]


async def test_copies_that_the_sweep_finds_go_in_the_same_order(driven: Driven) -> None:
    jobs = await _three_to_retry(driven)
    for job in jobs:
        assert (await driven.retry(job)).status_code == 202
    await driven.sql("DELETE FROM pgqueuer")
    await driven.sql("UPDATE jobs SET nudged_at = NULL")
    await sweep(driven.context)
    assert await _taken_up(driven, jobs) == [job["id"] for job in reversed(jobs)]


async def test_a_sweep_that_can_not_take_all_takes_what_is_lost_first(driven: Driven) -> None:
    jobs = await _three_to_retry(driven)
    for job in jobs:
        assert (await driven.retry(job)).status_code == 202
    found = []
    await driven.sql("UPDATE jobs SET nudged_at = NULL")
    for _ in jobs:
        rows = queries().overdue_jobs(driven.service.pool, grace=60.0, full=[], limit=1)
        found += [row["id"] async for row in rows]
    assert found == [uuid(job) for job in reversed(jobs)]


# --- The alarm -------------------------------------------------------------------------------------------------------


def _gauge(source: str) -> float | None:
    return REGISTRY.get_sample_value("genrelay_outputs_about_to_expire", {"source": source})


async def _beat(driven: Driven, alerts: Alerts) -> list[dict[str, Any]]:
    """Beat as a worker does; returns what was logged."""
    with capture_logs() as lines:
        alerts.see(await queries().beat(driven.service.pool, id=driven.context.worker_id, alert_seconds=600.0))
    return [dict(line) for line in lines]


async def test_what_is_about_to_be_lost_is_counted_and_told_once_for_each_job(driven: Driven) -> None:
    alerts, jobs = Alerts(600.0), [await driven.copying() for _ in range(3)]
    assert await _beat(driven, alerts) == []
    assert [_gauge(source) for source in WAITING] == [0, 0, 0]
    for job, seconds in zip(jobs, (500, 700, -5), strict=True):
        await driven.sql(
            "UPDATE jobs SET source_expires_at = now() + $2::interval WHERE id = $1",
            uuid(job),
            timedelta(seconds=seconds),
        )
    [line] = await _beat(driven, alerts)
    assert (line["event"], line["job_id"], line["log_level"]) == ("outputs.about_to_expire", jobs[0]["id"], "warning")
    assert [_gauge(source) for source in WAITING] == [1, 1, 0]
    assert await _beat(driven, alerts) == []
    for job in jobs:
        assert (await driven.copy(job))["status"] == "succeeded"
    assert await _beat(driven, alerts) == []
    assert [_gauge(source) for source in WAITING] == [0, 0, 0]


async def test_what_a_retry_could_still_save_is_counted_until_it_is_too_late(driven: Driven) -> None:
    alerts = Alerts(600.0)
    await driven.client.put("/v1/destinations/acme", json=destination(driven.s3, "there-is-no-such-bucket"))
    refused, canceled = [await driven.copying() for _ in range(2)]
    await driven.cancel(canceled)
    refused = await driven.copy(refused)
    assert refused["error"]["code"] == "destination_denied"
    rejected = await driven.copying("a lighthouse [fault:image_404]")
    await driven.sql("UPDATE outputs SET source_url = 'http://10.0.0.1/' WHERE job_id = $1", uuid(rejected))
    assert (await driven.copy(rejected))["error"]["code"] == "output_rejected"
    for seconds, count in ((700, 0), (500, 1), (-5, 0)):
        await driven.sql("UPDATE jobs SET source_expires_at = now() + $1::interval", timedelta(seconds=seconds))
        assert await _beat(driven, alerts) == []
        assert [_gauge(source) for source in WAITING] == [0, 0, count], seconds
    await driven.client.put("/v1/destinations/acme", json=destination(driven.s3, driven.bucket))
    await driven.retry(refused)
    assert (await driven.drive(refused))["status"] == "succeeded"
    await _beat(driven, alerts)
    assert _gauge("failed") == 0


async def test_a_worker_raises_the_alarm_with_its_heartbeat(
    database_url: str, s3_server: S3Server, bucket: str
) -> None:
    more = {"GENRELAY_OUTPUTS__ALERT_SECONDS": "7200"}
    async with driven_world(database_url, s3_server, bucket, **more) as driven:
        await driven.copying()
        # Not due, so that nobody copies it.
        await driven.sql("UPDATE jobs SET due_at = now() + interval '1 hour'")
        await driven.sql("DELETE FROM pgqueuer")

        async def raised() -> bool:
            return _gauge("expiring") == 1

        async with _one_worker(driven):
            await until(raised)
