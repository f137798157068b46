"""SIGTERM: what is under way is finished or handed back, and the exit status is 0."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

from service.demo.s3server import S3Server
from tests.chaos.ground import ground
from tests.processes import GENRELAY
from tests.world import environment, free_port, until


async def test_what_is_under_way_is_finished_and_long_polls_are_answered(
    database_url: str, s3_server: S3Server, tmp_path: Path
) -> None:
    async with ground(database_url, s3_server, tmp_path) as on:
        async with on.process() as process:
            await on.put_destination()
            held = await on.submit("a lighthouse [fault:held]")
            await on.until_status(held, "running")
            copied = await on.submit("a harbour [fault:slow_image=1]")
            await on.until_status(copied, "copying")
            submitted = await on.submit("a mountain [fault:hang=1]")
            await on.until_submitted(3)
            async with on.client() as client:
                poll = asyncio.create_task(client.get(f"/v1/jobs/{held['id']}", params={"wait": 60}))
                await on.until_status(submitted, "submitting")  # one request later, the poll is there, too
                process.send(signal.SIGTERM)
                answer = await poll
            assert (answer.status_code, answer.json()["status"]) == (200, "running")
            assert await process.ended(15) == 0
        assert (await on.row(copied))["status"] == "succeeded"
        assert (await on.row(submitted))["provider_task_id"] is not None
        assert await on.fetch("SELECT 1 FROM workers") == [], "who leaves in good order is not waited for"
        on.sandbox.release((await on.row(held))["provider_task_id"])
        async with on.process():
            ends = [await on.end(job) for job in (held, copied, submitted)]
        assert [job["status"] for job in ends] == ["succeeded"] * 3
        await on.check(*ends, stored=1)


async def test_what_takes_too_long_is_handed_back(database_url: str, s3_server: S3Server, tmp_path: Path) -> None:
    async with ground(database_url, s3_server, tmp_path) as on:
        async with on.process(GENRELAY_ENGINE__DRAIN_SECONDS="0.2") as process:
            await on.put_destination()
            copied = await on.submit("a harbour [fault:slow_image=3]")
            await on.until_status(copied, "copying")
            submitted = await on.submit("a mountain [fault:hang=30]")
            await on.until_submitted(2)
            assert await process.terminate(10) == 0
            assert process.said("service.work_handed_back") == 1
        async with on.process():
            ends = [await on.end(job) for job in (copied, submitted)]
        assert [job["status"] for job in ends] == ["succeeded"] * 2
        await on.check(*ends, stored=1)


SEEDREAM = {"operation": "seedream-4.0", "input": {"prompt": "a lighthouse [fault:held]", "size": "1024x1024"}}


async def test_callbacks_are_taken_while_a_long_call_is_waited_for(
    database_url: str, s3_server: S3Server, tmp_path: Path
) -> None:
    async with ground(database_url, s3_server, tmp_path) as on:
        async with on.process() as process:
            await on.put_destination()
            call = await on.submit(**SEEDREAM)
            await on.until_submitted()
            task = await on.submit("a harbour [fault:held]")
            await on.until_submitted(2)
            process.send(signal.SIGTERM)
            async with on.client() as client:

                async def draining() -> bool:
                    return (await client.get("/readyz")).status_code == 503

                await until(draining)
                called, asked = on.sandbox.submits
                on.sandbox.release(asked.task_id)

                async def acknowledged() -> bool:
                    return any(sent.status == 200 for sent in on.sandbox.callbacks_sent)

                await until(acknowledged)
                on.sandbox.release(called.task_id)
            assert await process.ended(15) == 0
        assert (await on.row(call))["verified_by"] == "sync"
        async with on.process():
            ends = [await on.end(job) for job in (call, task)]
        assert [job["status"] for job in ends] == ["succeeded"] * 2


async def test_a_second_signal_hands_a_long_call_back_at_once(
    database_url: str, s3_server: S3Server, tmp_path: Path
) -> None:
    async with ground(database_url, s3_server, tmp_path) as on:
        async with on.process() as process:
            await on.put_destination()
            job = await on.submit(**SEEDREAM)
            await on.until_submitted()
            process.send(signal.SIGTERM)

            async def draining() -> bool:
                return process.said("service.draining") == 1

            await until(draining)
            process.send(signal.SIGTERM)
            assert await process.ended(10) == 0
        async with on.process():
            ended = await on.end(job)
        assert (ended["status"], ended["error"]["code"]) == ("failed", "submit_unknown")
        assert len(on.sandbox.paid) == 1


async def test_the_command_ends_with_0_on_sigterm(database_url: str, tmp_path: Path) -> None:
    given = environment(port=free_port(), sandbox_url="http://127.0.0.1:9", database_url=database_url)
    process = await asyncio.create_subprocess_exec(
        GENRELAY, "serve", env=given, cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    assert process.stdout is not None
    async with asyncio.timeout(40):
        while b"service.listening" not in (line := await process.stdout.readline()):
            assert line, "it ended before it listened"
        process.send_signal(signal.SIGTERM)
        await process.communicate()
    assert process.returncode == 0
