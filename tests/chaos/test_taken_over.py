"""What a dead worker held is taken up within 30 seconds, with the settings as they come."""

from __future__ import annotations

from pathlib import Path

from config.settings import EngineSettings
from service.demo.s3server import S3Server
from tests.chaos.ground import FAST, ground

BOUND = 30.0  # seconds


def test_the_default_leases_add_up_to_less_than_the_bound() -> None:
    engine = EngineSettings()
    assert engine.sweep_seconds <= engine.heartbeat_seconds * 0.75
    assert engine.heartbeat_seconds * 2 < BOUND


async def test_another_worker_takes_up_a_submit_and_a_copy_of_a_killed_one_within_the_bound(
    database_url: str, s3_server: S3Server, tmp_path: Path
) -> None:
    as_they_come = dict.fromkeys(FAST, "")  # an empty variable is none
    async with (
        ground(database_url, s3_server, tmp_path, **as_they_come) as on,
        on.process("api"),
        on.worker() as killed,
    ):
        await on.put_destination()
        copied = await on.submit("a lighthouse [fault:slow_image=2]")
        await on.until_status(copied, "copying")
        submitted = await on.submit("a harbour [fault:hang=60]")
        await on.until_submitted(2)
        await killed.kill()
        async with on.worker():
            # Both were started once; seen from outside, taken up means: started again, and taken for unclear.
            await on.until_row(copied, lambda row: row["starts"] > 1 or row["status"] == "succeeded", BOUND)
            await on.until_row(submitted, lambda row: row["submit_state"] != "in_flight", BOUND)
            ends = [await on.end(job) for job in (copied, submitted)]
        assert [job["status"] for job in ends] == ["succeeded", "succeeded"]
        await on.check(*ends, stored=1)
