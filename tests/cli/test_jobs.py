"""`genrelay jobs`, against a running service."""

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path

import httpx

from tests.cli.command import CommandLine
from tests.world import World, destination, job_body, txt2img, until


async def test_submit_sends_a_file_and_the_job_can_be_read_watched_and_listed(
    genrelay: CommandLine, tmp_path: Path
) -> None:
    file = tmp_path / "body.json"
    file.write_text(json.dumps(job_body()))
    job = await genrelay.json("jobs", "submit", "--file", str(file), "--wait")
    assert job["status"] == "succeeded"

    shown, got, table, page, told, events = await asyncio.gather(
        genrelay("jobs", "get", job["id"]),
        genrelay.json("jobs", "get", job["id"]),
        genrelay("jobs", "list"),
        genrelay.json("jobs", "list", "--status", "succeeded"),
        genrelay("jobs", "watch", job["id"]),
        genrelay("jobs", "watch", job["id"], "--json"),
    )
    assert got == job
    assert job["outputs"][0]["url"] in shown.out
    assert job["id"] in table.out
    assert [one["id"] for one in page["data"]] == [job["id"]]
    assert told.status == events.status == 0
    assert "job.queued" in told.out.splitlines()[0]
    lines = [json.loads(line) for line in events.out.splitlines()]
    assert [line["data"]["sequence"] for line in lines] == list(range(1, len(lines) + 1))
    assert lines[-1]["type"] == "job.succeeded"


async def test_submit_takes_the_providers_own_body_from_standard_input_and_options_around_it(
    genrelay: CommandLine,
) -> None:
    options = (
        *("jobs", "submit", "--file", "-", "--provider", "novita", "--operation", "txt2img"),
        *("--destination", "acme", "--metadata", "order=42", "--metadata", "note=a=b", "--idempotency-key", "once"),
    )
    first = await genrelay.json(*options, given=json.dumps(txt2img()))
    second = await genrelay(*options, given=json.dumps(txt2img()))
    assert first["metadata"] == {"order": "42", "note": "a=b"}
    assert first["destination"] == "acme"
    assert first["id"] in second.out
    found, none = await asyncio.gather(
        genrelay.json("jobs", "list", "--metadata", "order=42", "--no-test"),
        genrelay.json("jobs", "list", "--metadata", "order=43"),
    )
    assert [job["id"] for job in found["data"]] == [first["id"]]
    assert none["data"] == []


async def test_a_test_job_ends_as_it_was_asked_to_and_a_failed_one_is_exit_status_1(genrelay: CommandLine) -> None:
    body = json.dumps(job_body())
    submit = ("jobs", "submit", "--file", "-", "--wait")
    good, bad, real = await asyncio.gather(
        genrelay(*submit, "--test", "--json", given=body),
        genrelay(*submit, "--test-status", "failed", "--json", given=body),
        genrelay(*submit, given=json.dumps(job_body("a lighthouse [fault:failed]"))),
    )
    assert (good.status, good.json["status"], good.json["test"]) == (0, "succeeded", True)
    assert (bad.status, bad.json["status"], bad.json["verified_by"]) == (1, "failed", "token")
    assert real.status == 1
    assert "provider_failed" in real.out
    watched = await genrelay("jobs", "watch", bad.json["id"])
    assert watched.status == 1


async def test_watch_follows_a_job_to_its_end(genrelay: CommandLine, world: World) -> None:
    job = await world.submit("a lighthouse [fault:held]")
    watching = asyncio.create_task(genrelay("jobs", "watch", job["id"], "--json"))
    running = await until(lambda: _running(world, job["id"]))
    world.sandbox.release(running)
    ran = await watching
    assert ran.status == 0
    assert [json.loads(line)["type"] for line in ran.out.splitlines()][-1] == "job.succeeded"


async def test_a_job_is_canceled_and_retried(genrelay: CommandLine, world: World) -> None:
    job = await world.submit("a lighthouse [fault:held]")
    task = await until(lambda: _running(world, job["id"]))
    canceled = await genrelay.json("jobs", "cancel", job["id"])
    again = await genrelay("jobs", "cancel", job["id"])
    assert canceled["status"] == "canceled"
    assert again.status == 0
    assert "canceled" in again.out
    world.sandbox.release(task)
    retried = await genrelay("jobs", "retry", job["id"], "--wait", "--json")
    assert (retried.status, retried.json["status"], retried.json["run"]) == (0, "succeeded", 2)
    refused = await genrelay("jobs", "retry", job["id"])
    assert refused.status == 1
    assert "only a failed or canceled job is retried" in refused.err


async def test_a_job_is_copied_to_another_destination(genrelay: CommandLine, world: World) -> None:
    spec = destination(world.s3, world.bucket, path="copies")
    assert (await world.client.put("/v1/destinations/other", json=spec)).status_code == 201
    job = await world.run(metadata={"order": "42"})
    ask = ("jobs", "copy", job["id"], "--to", "other")
    copied, again, other = await asyncio.gather(
        genrelay(*ask, "--idempotency-key", "once", "--wait", "--json"),
        genrelay(*ask, "--idempotency-key", "once", "--wait"),
        genrelay.json(*ask, "--metadata", "for=archive"),
    )
    assert (copied.status, copied.json["status"], copied.json["copy_of"]) == (0, "succeeded", job["id"])
    assert copied.json["metadata"] == {"order": "42"}
    assert copied.json["id"] in again.out
    assert job["id"] in again.out
    assert other["metadata"] == {"for": "archive"}
    refused, nowhere = await asyncio.gather(
        genrelay("jobs", "copy", job["id"]), genrelay("jobs", "copy", job["id"], "--to", "nowhere")
    )
    assert refused.status == 2
    assert nowhere.status == 1
    assert "no destination of that name" in nowhere.err


async def test_a_link_to_an_output_is_printed_whole(genrelay: CommandLine, world: World) -> None:
    job = await world.run()
    plain, told, wrong, none = await asyncio.gather(
        genrelay("jobs", "link", job["id"]),
        genrelay.json("jobs", "link", job["id"], "0", "--expires-in", "3600"),
        genrelay("jobs", "link", job["id"], "--expires-in", "59"),
        genrelay("jobs", "link", job["id"], "1"),
    )
    assert (plain.status, plain.out.count("\n")) == (0, 1)
    assert "X-Amz-Expires=300" in plain.out
    assert "X-Amz-Expires=3600" in told["url"]
    async with httpx.AsyncClient(trust_env=False) as anybody:
        for url in (plain.out.strip(), told["url"]):
            content = (await anybody.get(url)).content
            assert hashlib.sha256(content).hexdigest() == job["outputs"][0]["sha256"]
    assert (wrong.status, none.status) == (2, 1)
    assert "no such output" in none.err


async def test_a_refused_submit_tells_every_mistake_on_a_line_of_its_own(genrelay: CommandLine) -> None:
    body = json.dumps(job_body(input=txt2img(width=64, steps=0)))
    human, machine = await asyncio.gather(
        genrelay("jobs", "submit", "--file", "-", given=body),
        genrelay("jobs", "submit", "--file", "-", "--json", given=body),
    )
    assert human.status == machine.status == 1
    assert human.out == ""
    first, *mistakes = human.err.splitlines()
    assert first.startswith("genrelay: The request is understood but wrong: ")
    assert len(mistakes) == 2
    assert "width" in mistakes[0] + mistakes[1]
    assert machine.json["error"]["code"] == "invalid_request"
    assert len(machine.json["error"]["errors"]) == 2


async def _running(world: World, job_id: str) -> str | None:
    """Return the task id of a job that runs."""
    job = await world.job({"id": job_id})
    return job["provider_task_id"] if job["status"] == "running" else None
