"""Every line of the log says what it is about: the request, the job, its trace, the delivery."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from service.demo.s3server import S3Server
from tests.chaos.ground import ground
from tests.receiver import Receiver
from tests.world import job_body

TRACE = "0af7651916cd43dd8448eb211c80319c"


def read_lines(log: Path) -> list[dict[str, Any]]:
    """Return a log's lines."""
    return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]


@contextlib.asynccontextmanager
async def lines_of_a_job(
    database_url: str, s3: S3Server, folder: Path, receiver: Receiver
) -> AsyncIterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Run a job in a process; lends it, and the lines of the log."""
    async with ground(database_url, s3, folder) as on, on.process() as process:
        await on.put_destination()
        given = job_body(webhook=receiver.url + "/hooks?token=in-the-query")
        async with on.client() as client:
            headers = {"X-Request-Id": "asked-by-a-test", "traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
            answer = await client.post("/v1/jobs", json=given, headers=headers)
            assert answer.status_code == 202, answer.text
            job = await on.end(answer.json())
            await client.get(f"/v1/jobs/{job['id']}/callbacks")
        await receiver.until(where=lambda came: came.event["type"] == "job.succeeded")
        yield job, read_lines(process.log)


async def test_lines_name_the_request_the_job_its_trace_and_the_delivery(
    database_url: str, s3_server: S3Server, tmp_path: Path, receiver: Receiver
) -> None:
    async with lines_of_a_job(database_url, s3_server, tmp_path, receiver) as (job, lines):
        of_job = [line for line in lines if line.get("job_id") == job["id"]]
        events = {line["event"] for line in of_job if line.get("trace_id") == TRACE}
        assert {"job.accepted", "job.submitted", "job.read_back", "callback.judged", "output.stored"} <= events
        assert {"delivery.attempted", "request.handled"} <= events
        [accepted] = [line for line in lines if line["event"] == "job.accepted"]
        assert accepted["request_id"] == "asked-by-a-test"
        # What happens later is not the request's.
        later = [line for line in of_job if line["event"] in {"job.submitted", "output.stored", "delivery.attempted"}]
        assert later
        assert not [line for line in later if "request_id" in line]
        assert {line["task"] for line in of_job if line["event"] == "output.stored"} == {"copy"}
        delivered = [line for line in of_job if line["event"] == "delivery.attempted"]
        assert all(line["delivery_id"].startswith("dlv_") and line["event_id"].startswith("evt_") for line in delivered)
        assert not [line for line in delivered if "task" in line]


async def test_a_request_about_a_job_says_which_and_others_say_none(
    database_url: str, s3_server: S3Server, tmp_path: Path, receiver: Receiver
) -> None:
    async with lines_of_a_job(database_url, s3_server, tmp_path, receiver) as (job, lines):
        handled = [line for line in lines if line["event"] == "request.handled"]
        about = {line["route"]: line.get("job_id") for line in handled}
        assert about["/v1/jobs"] == job["id"]
        assert about["/v1/jobs/{id}/callbacks"] == job["id"]
        assert about["/v1/destinations/{name}"] is None
        assert len({line["trace_id"] for line in handled}) == len(handled)
        assert "in-the-query" not in json.dumps(lines)
