"""SIGTERM, as clients see it: whoever has a connection gets an answer, and is told to go elsewhere."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

import httpx

from service.demo.s3server import S3Server
from tests.chaos.ground import Ground, ground
from tests.processes import Process
from tests.world import API_KEY, free_port, until

TEST: dict[str, Any] = {"test_mode": {"enabled": True, "return_task_status": "TASK_STATUS_SUCCEED"}}
_HEAD = f"Host: genrelay.example\r\nAuthorization: Bearer {API_KEY}\r\n\r\n"
GET_JOBS = f"GET /v1/jobs HTTP/1.1\r\n{_HEAD}".encode()
GET_READY = f"GET /readyz HTTP/1.1\r\n{_HEAD}".encode()
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def connect(process: Process) -> Connection:
    return await asyncio.open_connection("127.0.0.1", int(process.environment["GENRELAY_PORT"]))


async def ask(connection: Connection, request: bytes) -> tuple[int, bool]:
    """Return the answer's status, and whether it says that the connection is closed; raises when there is none."""
    reader, writer = connection
    writer.write(request)
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    [length] = [line.partition(b":")[2] for line in head.split(b"\r\n") if line.startswith(b"content-length:")]
    await reader.readexactly(int(length))
    return int(head.split()[1]), b"\r\nconnection: close\r\n" in head


async def leaves(process: Process) -> None:
    """Return once the process says that it leaves."""
    async with httpx.AsyncClient(trust_env=False) as http:

        async def says_so() -> bool:
            answer = await http.get(f"{process.url}/readyz")
            return answer.status_code == 503 and "leaving" in answer.text

        await until(says_so)


async def test_while_it_lingers_it_says_that_it_leaves_and_serves_old_and_new_connections_once_each(
    database_url: str, s3_server: S3Server, tmp_path: Path
) -> None:
    async with (
        ground(database_url, s3_server, tmp_path) as on,
        on.process("api", GENRELAY_HTTP__LINGER_SECONDS="300") as process,
    ):
        kept = await connect(process)
        assert await ask(kept, GET_READY) == (200, False)
        process.send(signal.SIGTERM)
        await leaves(process)
        assert await ask(kept, GET_JOBS) == (200, True)
        assert await kept[0].read() == b"", "closed, in good order"
        new = await connect(process)
        assert await ask(new, GET_READY) == (503, True)
        late = await connect(process)
        process.send(signal.SIGTERM)  # the second one, which hurries
        assert await process.ended(10) == 0
        assert await late[0].read() == b""
        for _, writer in (kept, new, late):
            writer.close()


async def test_whoever_connects_around_the_end_of_the_linger_gets_an_answer_or_is_refused(
    database_url: str, s3_server: S3Server, tmp_path: Path
) -> None:
    async with (
        ground(database_url, s3_server, tmp_path) as on,
        on.process("api", GENRELAY_HTTP__LINGER_SECONDS="0.3") as process,
    ):
        idle = [await connect(process) for _ in range(50)]
        assert {await ask(each, GET_READY) for each in idle[:25]} == {(200, False)}
        over, statuses = asyncio.Event(), []

        async def client() -> None:
            while not over.is_set():
                try:
                    connection = await connect(process)
                except ConnectionRefusedError:
                    return
                statuses.append(await ask(connection, GET_JOBS))
                connection[1].close()

        async with asyncio.TaskGroup() as group:
            for _ in range(20):
                group.create_task(client())
            await until(lambda: _is(len(statuses) > 40))
            process.send(signal.SIGTERM)
            found = await asyncio.gather(*(ask(each, GET_JOBS) for each in idle))
            assert {status for status, _ in found} == {200}
            assert await process.ended(15) == 0
            over.set()
        assert {status for status, _ in statuses} == {200}
        assert any(closed for _, closed in statuses)
        for _, writer in idle:
            writer.close()


async def test_without_a_linger_who_has_connected_and_not_asked_yet_is_answered(
    database_url: str, s3_server: S3Server, tmp_path: Path
) -> None:
    async with ground(database_url, s3_server, tmp_path) as on, on.process("api") as process:
        process.send(signal.SIGSTOP)
        waiting = [await connect(process) for _ in range(200)]  # by the kernel: nobody has accepted them
        for _, writer in waiting[:100]:
            writer.write(GET_JOBS)
        process.send(signal.SIGTERM)
        process.send(signal.SIGCONT)
        found = await asyncio.gather(
            *(ask(each, b"") for each in waiting[:100]), *(ask(each, GET_JOBS) for each in waiting[100:])
        )
        assert set(found) == {(200, True)}
        assert await process.ended(15) == 0
        for _, writer in waiting:
            writer.close()


async def test_a_worker_takes_no_work_while_it_lingers(database_url: str, s3_server: S3Server, tmp_path: Path) -> None:
    async with (
        ground(database_url, s3_server, tmp_path) as on,
        on.process(GENRELAY_HTTP__LINGER_SECONDS="300") as process,
    ):
        await on.put_destination()
        process.send(signal.SIGTERM)
        await leaves(process)
        job = await on.submit()
        # It has had its turns: this one came later and is answered.
        assert (await on.job(job))["status"] == "queued"
        process.send(signal.SIGTERM)
        assert await process.ended(10) == 0
        assert (await on.row(job))["status"] == "queued"
        async with on.process():
            await on.check(await on.end(job), stored=1)


async def test_long_polls_and_streams_end_with_the_linger(
    database_url: str, s3_server: S3Server, tmp_path: Path
) -> None:
    async with (
        ground(database_url, s3_server, tmp_path) as on,
        on.process("api", GENRELAY_HTTP__LINGER_SECONDS="0.2") as process,
        on.process("api", port=free_port()) as other,
    ):
        await on.put_destination()
        job = await on.submit(destination=None, **TEST)
        polling = asyncio.create_task(_poll(on, job))
        async with on.client() as client:
            async with client.stream("GET", "/v1/events", headers={"Accept": "text/event-stream"}) as stream:
                assert stream.status_code == 200
                process.send(signal.SIGTERM)
                async for _ in stream.aiter_bytes():
                    pass  # to its orderly end
            answer = await polling
        assert (answer.status_code, answer.json()["status"]) == (200, "queued")
        assert await process.ended(15) == 0
        assert other.alive


async def _poll(on: Ground, job: dict[str, Any]) -> httpx.Response:
    async with on.client() as client:
        return await client.get(f"/v1/jobs/{job['id']}", params={"wait": 60})


async def _is(so: bool) -> bool:
    return so
