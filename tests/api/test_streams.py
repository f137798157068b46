"""Streams of events: what they say, where they go on, and when they end."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import httpx
import pytest

from config.loading import load_settings
from handlers.app import make_app
from service.accounts import Accounts
from service.app import running_service
from service.demo.s3server import S3Server
from service.events.body import encode
from service.ids import new_uuid, show
from tests.api.answers import paths_of, problem
from tests.chaos.proxy import Proxy, unix_proxy
from tests.engine.driven import Driven, driven_world
from tests.processes import serve
from tests.serving import serving
from tests.sse import STREAM, Frame, feed, listening, write_events
from tests.world import API_KEY, World, client_for, destination, environment, free_port, until

EVENTS = "GENRELAY_EVENTS__"
Made = Callable[..., AbstractAsyncContextManager[Driven]]


@pytest.fixture
def made(database_url: str, s3_server: S3Server, bucket: str) -> Made:
    """Make a world in which nothing happens by itself, with settings of its own."""
    return lambda **more: driven_world(database_url, s3_server, bucket, **{EVENTS + k: v for k, v in more.items()})


@pytest.fixture
async def driven(made: Made) -> AsyncIterator[Driven]:
    """A world in which nothing happens by itself."""
    async with made() as running:
        yield running


def types(frames: list[Frame]) -> list[str]:
    return [frame.event for frame in frames]


def path_of(job: dict[str, Any]) -> str:
    return f"/v1/jobs/{job['id']}/events"


async def metric(world: World, line: str) -> float:
    """Return a metric's value, 0 when it has none yet."""
    text = (await world.client.get("/metrics")).text
    return next((float(each.rpartition(" ")[2]) for each in text.splitlines() if each.startswith(line + " ")), 0.0)


async def nobody_listens(world: World) -> None:
    """Return once every stream has been let go of, and everything behind it."""

    async def over() -> bool:
        return await metric(world, "genrelay_streams") == await metric(world, "genrelay_event_followers") == 0

    await until(over)


async def test_a_stream_and_the_pages_have_the_same_events_in_the_same_order(world: World) -> None:
    async with listening(world.client) as stream:
        first, second = await world.submit(), await world.submit('a "lighthouse"\u2028 — zażółć')
        await asyncio.gather(world.end(first), world.end(second))
        count = len(await world.events(first)) + len(await world.events(second))
        frames = await stream.take(count)
    pages = await feed(world.client)
    assert [frame.body for frame in frames] == pages
    assert [frame.data for frame in frames] == [encode(event) for event in pages]
    assert [(frame.id, frame.event) for frame in frames] == [(event["id"], event["type"]) for event in pages]
    async with listening(world.client, after="start") as again:
        assert await again.take(count) == frames
    for job in (first, second):
        async with listening(world.client, path_of(job)) as own:
            assert await own.rest() == [frame for frame in frames if frame.body["subject"] == job["id"]]


async def test_a_stream_has_headers_that_keep_anybody_from_holding_it_back(driven: Driven) -> None:
    async with listening(driven.client) as stream:
        headers = stream.answer.headers
        assert headers["content-type"] == "text/event-stream"
        assert headers["cache-control"] == "no-store"
        assert headers["x-accel-buffering"] == "no"
        assert headers["x-request-id"]
        job = await driven.submit()
        [frame] = await stream.take(1)
        assert frame.body["subject"] == job["id"]
        assert stream.retry is not None
        assert 1000 <= stream.retry <= 5000
    for accept in ("text/event-stream;q=0.5, */*;q=0.1", "application/json;q=0.5, TEXT/EVENT-STREAM"):
        async with driven.client.stream("GET", "/v1/events", headers={"Accept": accept}) as answer:
            assert answer.headers["content-type"] == "text/event-stream"
    head = await driven.client.head("/v1/events", headers=STREAM)
    assert (head.status_code, head.headers["content-type"]) == (200, "text/event-stream")


async def test_a_stream_of_the_account_begins_now_and_one_of_a_job_at_its_beginning(driven: Driven) -> None:
    before = await driven.submit()
    async with listening(driven.client) as account, listening(driven.client, path_of(before)) as own:
        assert types(await own.take(1)) == ["job.queued"]
        await driven.cancel(before)
        assert types(await account.take(1)) == types(await own.rest()) == ["job.canceled"]


async def test_a_stream_goes_on_behind_the_last_event_on_any_replica(driven: Driven) -> None:
    async with contextlib.AsyncExitStack() as stack:
        replica = await stack.enter_async_context(running_service(load_settings(driven.settings), "api"))
        url = await stack.enter_async_context(serving(make_app(replica)))
        elsewhere = await stack.enter_async_context(client_for(url))
        async with listening(driven.client) as stream:
            jobs = [await driven.submit() for _ in range(3)]
            frames = await stream.take(2)
        async with (
            listening(elsewhere, behind=frames[0].id) as by_header,
            listening(elsewhere, after=frames[0].id) as by_query,
            # The client's own header says where it is by now; its address is still the first one.
            listening(elsewhere, behind=frames[1].id, after=frames[0].id) as by_both,
        ):
            await driven.cancel(jobs[0])
            behind = await by_header.take(3)
            assert behind[0] == frames[1]
            assert await by_query.take(3) == behind
            assert await by_both.take(2) == behind[1:]
        assert [event["id"] for event in await feed(elsewhere)] == [frames[0].id, *(each.id for each in behind)]


async def test_a_jobs_stream_goes_on_behind_a_number_or_an_id(driven: Driven) -> None:
    job = await driven.submit()
    await write_events(driven, job, 3)
    frames = []
    async with listening(driven.client, path_of(job)) as stream:
        frames += await stream.take(4)
        await driven.cancel(job)
        frames += await stream.rest()
    assert [frame.body["data"]["sequence"] for frame in frames] == [1, 2, 3, 4, 5]
    for number in range(5):
        for query in ({"after": number}, {"behind": frames[number - 1].id} if number else {}, {"cursor": number}):
            async with listening(driven.client, path_of(job), **query) as stream:  # type: ignore[arg-type]
                assert await stream.rest() == frames[number:], query


async def test_a_stream_that_waits_for_a_number_that_never_comes_ends_with_its_job(driven: Driven) -> None:
    job = await driven.submit()
    async with listening(driven.client, path_of(job), after=99) as stream:
        await driven.cancel(job)
        assert await stream.rest() == []


async def test_a_jobs_stream_ends_behind_its_end_and_is_not_resumed_any_more(driven: Driven) -> None:
    job = await driven.submit()
    async with listening(driven.client, path_of(job)) as stream:
        await driven.cancel(job)
        frames = await stream.rest()
    assert types(frames) == ["job.queued", "job.canceled"]
    last = frames[-1].id
    for headers, query in (
        ({"Last-Event-ID": last}, {}),
        ({}, {"after": last}),
        ({}, {"after": "2"}),
        ({}, {"after": "99"}),
    ):
        answer = await driven.client.get(path_of(job), headers={**STREAM, **headers}, params=query)
        # What tells a browser's EventSource not to come back.
        assert (answer.status_code, answer.content) == (204, b"")
    async with listening(driven.client, path_of(job)) as again:
        assert await again.rest() == frames
    assert await metric(driven, 'genrelay_streams_ended_total{reason="job_ended"}') >= 2


async def test_a_stream_tells_of_the_next_run_when_there_is_one(driven: Driven) -> None:
    job = await driven.submit()
    await driven.cancel(job)
    first = await feed(driven.client, path_of(job))
    assert (await driven.retry(job)).status_code == 202
    async with (
        listening(driven.client, path_of(job)) as whole,
        listening(driven.client, path_of(job), behind=first[-1]["id"]) as resumed,
    ):
        assert types(await whole.take(3)) == ["job.queued", "job.canceled", "job.queued"]
        assert types(await resumed.take(1)) == ["job.queued"]
        await driven.cancel(job)
        assert types(await whole.rest()) == types(await resumed.rest()) == ["job.canceled"]


async def test_a_stream_is_filtered_like_the_pages(driven: Driven) -> None:
    async with (
        listening(driven.client, type="job.canceled") as ended,
        listening(driven.client, **{"metadata[order]": "42"}) as ordered,
        listening(driven.client, test="true", type="job.*") as tests,
        listening(driven.stranger) as strangers,
    ):
        plain = await driven.submit()
        order = await driven.submit(metadata={"order": "42"})
        test = await driven.submit(test_mode={"enabled": True})
        await driven.cancel(plain)
        assert [each.body["subject"] for each in await ordered.take(1)] == [order["id"]]
        assert [each.body["subject"] for each in await tests.take(1)] == [test["id"]]
        assert [each.body["subject"] for each in await ended.take(1)] == [plain["id"]]
        answer = await driven.stranger.put("/v1/destinations/acme?check=false", json=destination(driven.s3, "theirs"))
        assert answer.status_code == 201
        job = (await driven.stranger.post("/v1/jobs", json={**_BODY, "test_mode": {"enabled": True}})).json()
        # The first that a stranger hears of is his own.
        assert [each.body["subject"] for each in await strangers.take(1)] == [job["id"]]
    async with listening(driven.client, after="start", type="job.canceled") as missed:
        assert [each.body["subject"] for each in await missed.take(1)] == [plain["id"]]


_BODY = {
    "provider": "modelslab",
    "operation": "text2img",
    "input": {"model_id": "sdxl", "prompt": "a lighthouse at dawn", "width": "512", "height": "512", "samples": "1"},
}


async def test_a_stream_misses_nothing_when_the_listening_session_is_cut(driven: Driven) -> None:
    async def cut() -> bool:
        return bool(await driven.sql(_CUT))

    async with listening(driven.client) as stream:
        for _ in range(3):
            job = await driven.submit()
            await until(cut)
            await driven.cancel(job)
            assert [each.body["subject"] for each in await stream.take(2)] == [job["id"]] * 2


_CUT = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'genrelay listener'
"""


async def test_a_quiet_stream_says_that_it_is_there(made: Made) -> None:
    async with made(COMMENT_SECONDS="0.05") as driven, listening(driven.client) as stream:
        await stream.comment(3)
        await driven.submit()
        assert types(await stream.take(1)) == ["job.queued"]
        await stream.comment(stream.comments + 2)


async def test_a_place_that_is_not_in_the_feed_is_refused(driven: Driven) -> None:
    job = await driven.submit()
    strange, never = (await feed(driven.client, path_of(job)))[0]["id"], show("evt", new_uuid())
    for headers, query, client, path in (
        ({"Last-Event-ID": "nonsense"}, {}, driven.client, "Last-Event-ID"),
        ({"Last-Event-ID": "1"}, {}, driven.client, "Last-Event-ID"),
        ({"Last-Event-ID": never}, {}, driven.client, "Last-Event-ID"),
        ({"Last-Event-ID": strange}, {}, driven.stranger, "Last-Event-ID"),
        ({}, {"after": strange}, driven.stranger, "after"),
        ({}, {"after": never}, driven.client, "after"),
        ({}, {"after": "now"}, driven.client, "after"),
        ({}, {"limit": "5"}, driven.client, "limit"),
        ({}, {"type": "job.done"}, driven.client, "type"),
    ):
        answer = await client.get("/v1/events", headers={**STREAM, **headers}, params=query)
        assert paths_of(answer) == {path}, (headers, query)
    for headers in ({"Last-Event-ID": never}, {"Last-Event-ID": "x"}):
        assert paths_of(await driven.client.get(path_of(job), headers={**STREAM, **headers})) == {"Last-Event-ID"}
    # An empty one is what a client sends that has seen nothing yet.
    async with listening(driven.client, path_of(job), behind="") as stream:
        assert types(await stream.take(1)) == ["job.queued"]
    await nobody_listens(driven)


async def test_a_stream_needs_a_key_and_a_job_of_ones_own(driven: Driven) -> None:
    job = await driven.submit()
    problem(await driven.stranger.get(path_of(job), headers=STREAM), 404, "not_found")
    problem(await driven.client.get("/v1/jobs/job_x/events", headers=STREAM), 404, "not_found")
    async with httpx.AsyncClient(base_url=driven.url, trust_env=False) as anybody:
        for path in ("/v1/events", path_of(job)):
            problem(await anybody.get(path, headers=STREAM), 401, "unauthorized")


async def test_more_streams_than_there_may_be_are_refused(made: Made) -> None:
    async with made(STREAMS="3", STREAMS_PER_ACCOUNT="2") as driven:
        async with listening(driven.client), listening(driven.client):
            answer = await driven.client.get("/v1/events", headers=STREAM)
            problem(answer, 429, "too_many_streams")
            assert int(answer.headers["retry-after"]) > 0
            async with listening(driven.stranger):
                answer = await driven.stranger.get("/v1/events", headers=STREAM)
                problem(answer, 503, "unavailable")
                assert int(answer.headers["retry-after"]) > 0
            # Pages are no streams.
            assert (await driven.client.get("/v1/events")).status_code == 200
        await nobody_listens(driven)
        async with listening(driven.client), listening(driven.client):
            pass


async def test_a_stream_ends_after_its_time_and_is_resumed(made: Made) -> None:
    async with made(STREAM_SECONDS="0.3") as driven:
        before = await metric(driven, 'genrelay_streams_ended_total{reason="time"}')
        async with listening(driven.client) as stream:
            await driven.submit()
            frames = await stream.rest()
        assert types(frames) == ["job.queued"]
        assert await metric(driven, 'genrelay_streams_ended_total{reason="time"}') == before + 1
        await driven.submit()
        async with listening(driven.client, behind=frames[0].id) as stream:
            assert types(await stream.take(1)) == ["job.queued"]


async def test_a_client_that_hangs_up_leaves_nothing_behind_and_is_no_error(
    driven: Driven, caplog: pytest.LogCaptureFixture
) -> None:
    before = await metric(driven, 'genrelay_streams_ended_total{reason="gone"}')
    tasks = asyncio.all_tasks()
    job = await driven.submit()
    for path in ("/v1/events", path_of(job)):
        async with listening(driven.client, path):
            assert await metric(driven, "genrelay_streams") == 1
            assert await metric(driven, "genrelay_event_followers") == 1
        await nobody_listens(driven)
    assert await metric(driven, 'genrelay_streams_ended_total{reason="gone"}') == before + 2

    async def no_more_tasks() -> bool:
        return not {task for task in asyncio.all_tasks() - tasks if "stream" in task.get_name()}

    await until(no_more_tasks)
    assert [record for record in caplog.records if record.name.startswith("uvicorn")] == []


async def test_a_client_of_http_1_0_gets_the_events_without_the_sizes_of_chunks(driven: Driven) -> None:
    """nginx speaks it unless it is told otherwise."""
    job = await driven.submit()
    await driven.cancel(job)
    reader, writer = await asyncio.open_connection("127.0.0.1", int(driven.url.rpartition(":")[2]))
    lines = [f"GET {path_of(job)} HTTP/1.0", f"Authorization: Bearer {API_KEY}", "Accept: text/event-stream", "", ""]
    writer.write("\r\n".join(lines).encode())
    async with asyncio.timeout(20):
        answer = await reader.read()  # to the end of the connection
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head.lower()
    assert b"connection: close" in head.lower()
    assert [line.partition(b": ")[0] for line in body.split(b"\n")] == [
        b"retry", b"", b"id", b"event", b"data", b"", b"id", b"event", b"data", b"", b""
    ]  # fmt: skip


async def _raw_stream(world: World, path: str) -> socket.socket:
    """Open a stream that nobody reads from, with as little room as the kernel gives."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(raw, ("127.0.0.1", int(world.url.rpartition(":")[2])))
    lines = [f"GET {path} HTTP/1.1", "Host: genrelay", f"Authorization: Bearer {API_KEY}", "Accept: text/event-stream"]
    await loop.sock_sendall(raw, "\r\n".join([*lines, "", ""]).encode())
    return raw


async def test_a_reader_that_takes_nothing_is_hung_up_on_while_others_go_on(
    made: Made, caplog: pytest.LogCaptureFixture
) -> None:
    async with made(SEND_SECONDS="0.3") as driven:
        before = await metric(driven, 'genrelay_streams_ended_total{reason="slow"}')
        job = await driven.submit()
        await write_events(driven, job, 99, size=100_000)
        # Ten million bytes lie before it, more than any buffers on the way hold.
        raw = await _raw_stream(driven, "/v1/events?after=start")
        async with listening(driven.client, after="start") as stream:
            assert len(await stream.take(100)) == 100

            async def cut_off() -> bool:
                return await metric(driven, 'genrelay_streams_ended_total{reason="slow"}') == before + 1

            await until(cut_off)
            await driven.cancel(job)
            assert types(await stream.take(1)) == ["job.canceled"]
        # It is not waited for until it has read what lies in the buffers.
        with raw, pytest.raises(ConnectionResetError):
            while await asyncio.get_running_loop().sock_recv(raw, 2**20):
                pass
        await nobody_listens(driven)
        assert [record for record in caplog.records if record.name.startswith("uvicorn")] == []


async def test_a_reader_that_takes_nothing_does_not_hold_up_the_end_of_the_process(made: Made) -> None:
    async with made(SEND_SECONDS="300") as driven:
        await write_events(driven, await driven.submit(), 99, size=100_000)
        with await _raw_stream(driven, "/v1/events?after=start"):
            # By the time that somebody has read everything, the other one has been stuck for long.
            async with listening(driven.client, after="start") as stream:
                await stream.take(100)
                assert await metric(driven, "genrelay_streams") == 2
                driven.service.endings.release()
                driven.service.feed.release()
                assert await stream.rest() == []
            await nobody_listens(driven)
        problem(await driven.client.get("/v1/events", headers=STREAM), 503, "unavailable")


async def test_a_stream_that_is_not_quick_enough_ends_and_nothing_is_missed_by_resuming(made: Made) -> None:
    async with made(STREAM_EVENTS="2") as driven:
        before = await metric(driven, 'genrelay_streams_ended_total{reason="slow"}')
        job = await driven.submit()
        frames: list[Frame] = []
        async with listening(driven.client, path_of(job)) as stream:
            frames += await stream.take(1)
            # All at once, and far more than may wait for it.
            await write_events(driven, job, 50)
            await driven.cancel(job)
            frames += await stream.rest()
        for _ in range(60):
            if frames[-1].event == "job.canceled":
                break
            async with listening(driven.client, path_of(job), behind=frames[-1].id) as stream:
                frames += await stream.rest()
        assert [frame.body["data"]["sequence"] for frame in frames] == list(range(1, 53))
        assert await metric(driven, 'genrelay_streams_ended_total{reason="slow"}') > before


@contextlib.asynccontextmanager
async def _proxied(database_url: str) -> AsyncIterator[tuple[Proxy, str]]:
    """Lend a proxy in front of a database, and the URL that goes through it."""
    before, _, rest = database_url.partition("host=")
    upstream, mark, more = rest.partition("&")
    with tempfile.TemporaryDirectory(prefix="genrelay-proxy-") as folder:
        async with unix_proxy(f"{folder}/.s.PGSQL.5432", f"{upstream}/.s.PGSQL.5432") as proxy:
            yield proxy, f"{before}host={folder}{mark}{more}"


async def test_a_stream_that_catches_up_ends_when_the_database_goes_away_and_is_resumed(
    database_url: str, s3_server: S3Server, bucket: str
) -> None:
    async with _proxied(database_url) as (proxy, url), driven_world(url, s3_server, bucket) as driven:
        before = await metric(driven, 'genrelay_streams_ended_total{reason="database"}')
        job = await driven.submit()
        await write_events(driven, job, 99, size=100_000)
        for path in ("/v1/events", path_of(job)):
            # Ten million bytes lie before it, more than any buffers on the way hold: there is more to be read.
            async with listening(driven.client, path, after="start") as stream:
                frames = await stream.take(1)
                proxy.cut()
                frames += await stream.rest()
            assert len(frames) < 100
            answer = await driven.client.get(path, headers={**STREAM, "Last-Event-ID": frames[-1].id})
            problem(answer, 503, "unavailable")
            assert int(answer.headers["retry-after"]) > 0
            proxy.mend()
            async with listening(driven.client, path, behind=frames[-1].id) as stream:
                frames += await stream.take(100 - len(frames))
            assert [frame.body["data"]["sequence"] for frame in frames] == list(range(1, 101))
        assert await metric(driven, 'genrelay_streams_ended_total{reason="database"}') == before + 2
        await nobody_listens(driven)


async def test_sigterm_ends_the_streams_and_the_process(
    database_url: str, s3_server: S3Server, bucket: str, tmp_path: Path
) -> None:
    port = free_port()
    given = environment(port=port, sandbox_url="http://127.0.0.1:9", database_url=database_url)
    async with serve(given, tmp_path / "log", "api") as process, client_for(process.url) as client:
        test = {"provider": "modelslab", **_BODY, "test_mode": {"enabled": True}}
        job = (await client.post("/v1/jobs", json=test)).json()
        raw = socket.create_connection(("127.0.0.1", port))
        async with (
            listening(client) as quiet,
            listening(client, after="start") as busy,
            listening(client, path_of(job)) as own,
        ):
            assert types(await busy.take(1)) == types(await own.take(1)) == ["job.queued"]
            process.send(signal.SIGTERM)
            for stream in (quiet, busy, own):
                assert await stream.rest() == []
        raw.close()
        assert await process.ended(10) == 0
        assert process.log.read_text().count('"ended": "stopping"') == 3
        assert "Traceback" not in process.log.read_text()


async def test_streams_end_when_a_key_of_their_account_is_revoked_and_who_has_another_one_goes_on(
    driven: Driven,
) -> None:
    accounts = driven.service.accounts
    key_id, key = await accounts.create_key("default")
    async with (
        client_for(driven.url, key) as revoked,
        listening(revoked) as first,
        listening(driven.client) as second,
        listening(driven.stranger),
    ):
        await driven.submit()
        [seen] = await second.take(1)
        await first.take(1)
        # As by the command line, in another process: this one hears of it by the database alone.
        assert await Accounts(driven.service.pool).revoke_key(key_id)
        assert types(await first.rest()) == types(await second.rest()) == []
        assert (await revoked.get("/v1/events", headers=STREAM)).status_code == 401

        async def only_the_strangers() -> bool:
            return await metric(driven, "genrelay_streams") == 1

        await until(only_the_strangers)
        await driven.submit()
        async with listening(driven.client, behind=seen.id) as stream:
            assert types(await stream.take(1)) == ["job.queued"]
