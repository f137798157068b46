"""Fetching a provider's file from real sockets."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
import pytest

from service.net import GuardPolicy, guarded_client
from service.outputs.download import decide_status, download
from service.outputs.errors import OutputError, OutputRefused, SourceGone, SourceUnavailable
from service.outputs.files import File
from tests.listening import Answer, Listener, answering, http_answer, listening, ok
from tests.outputs.conftest import LOCAL

MIB = 2**20


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with guarded_client(LOCAL) as made:
        yield made


@dataclass
class Fetched:
    """A file that was read to its end. size: what was announced."""

    body: bytes
    size: int | None
    claimed_type: str | None


async def read_all(file: File, step: int = 1000) -> bytes:
    body = bytearray()
    while piece := await file.read(step):
        body += piece
    return bytes(body)


async def fetch(
    client: httpx.AsyncClient, answer: Answer, *, max_bytes: int = MIB, seconds: float = 30
) -> tuple[Fetched, Listener]:
    async with (
        listening(answer) as listener,
        download(
            client,
            f"http://127.0.0.1:{listener.port}/file.png?token=query-secret",
            policy=LOCAL,
            hosts=["*"],
            max_bytes=max_bytes,
            seconds=seconds,
        ) as file,
    ):
        return Fetched(await read_all(file), file.size, file.claimed_type), listener


async def failure(client: httpx.AsyncClient, answer: Answer, **settings: float) -> OutputError:
    with pytest.raises(OutputError) as failed:
        await fetch(client, answer, **settings)  # type: ignore[arg-type]
    assert "secret" not in str(failed.value) + failed.value.hint
    return failed.value


def chunked(*chunks: bytes, end: bool = True) -> Answer:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    return answering(head, *(b"%x\r\n%b\r\n" % (len(c), c) for c in chunks), b"0\r\n\r\n" if end else b"")


async def test_whole_file_comes_with_its_size_and_claimed_type(client: httpx.AsyncClient) -> None:
    body = bytes(range(256)) * 1000
    downloaded, listener = await fetch(client, answering(ok(body, "Content-Type: image/png")))
    assert downloaded == Fetched(body, len(body), "image/png")
    assert b"accept-encoding: identity" in listener.requests[0].lower()


async def test_file_of_unknown_length_comes_whole(client: httpx.AsyncClient) -> None:
    downloaded, _ = await fetch(client, chunked(b"abc", b"def"))
    assert downloaded == Fetched(b"abcdef", None, None)


async def test_each_reading_gives_as_much_as_was_asked_for_until_the_file_ends(client: httpx.AsyncClient) -> None:
    body = bytes(range(256)) * 4
    for answer in (answering(ok(body)), chunked(body[:10], body[10:500], body[500:])):
        async with listening(answer) as listener:
            url = f"http://127.0.0.1:{listener.port}/"
            async with download(client, url, policy=LOCAL, hosts=["*"], max_bytes=MIB) as file:
                pieces = [await file.read(most) for most in (3, 300, 1, 1000, 1000, 1)]
        assert b"".join(pieces) == body
        assert [len(piece) for piece in pieces] == [3, 300, 1, len(body) - 304, 0, 0]


async def test_connection_is_used_again_after_a_file_of_which_just_its_bytes_were_read(
    client: httpx.AsyncClient,
) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc")
            await reader.readuntil(b"\r\n\r\n")

    async with listening(answer) as listener:
        for _ in range(2):
            url = f"http://127.0.0.1:{listener.port}/"
            async with download(client, url, policy=LOCAL, hosts=["*"], max_bytes=MIB) as file:
                assert await file.read(3) == b"abc"
    assert listener.connections == 1


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, SourceGone), (401, SourceGone), (403, SourceGone), (404, SourceGone), (410, SourceGone), (451, SourceGone),
     (408, SourceUnavailable), (425, SourceUnavailable), (429, SourceUnavailable), (500, SourceUnavailable),
     (502, SourceUnavailable), (503, SourceUnavailable), (204, SourceUnavailable), (206, SourceUnavailable),
     (301, OutputRefused), (302, OutputRefused), (304, OutputRefused), (307, OutputRefused), (308, OutputRefused)],
)  # fmt: skip
def test_status_decides_whether_the_file_is_gone_late_or_refused(status: int, kind: type[OutputError]) -> None:
    with pytest.raises(kind, match=str(status)):
        decide_status(status)


async def test_expired_url_is_gone_for_good(client: httpx.AsyncClient) -> None:
    error = await failure(client, answering(http_answer(403, b"<Error><Code>AccessDenied</Code></Error>")))
    assert isinstance(error, SourceGone)
    assert error.final
    assert error.as_job_error().as_json()["code"] == "output_expired"


async def test_redirect_is_refused_and_not_followed(client: httpx.AsyncClient) -> None:
    async with listening(answering(ok(b"x"))) as target:
        error = await failure(
            client, answering(http_answer(302, b"", f"Location: http://127.0.0.1:{target.port}/?token=secret"))
        )
    assert isinstance(error, OutputRefused)
    assert target.connections == 0


async def test_encoded_file_is_refused(client: httpx.AsyncClient) -> None:
    error = await failure(client, answering(ok(b"\x1f\x8b", "Content-Encoding: gzip")))
    assert isinstance(error, OutputRefused)
    downloaded, _ = await fetch(client, answering(ok(b"x", "Content-Encoding: Identity")))
    assert downloaded.body == b"x"


async def test_file_announced_too_large_is_refused_before_it_is_read(client: httpx.AsyncClient) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n"
    assert isinstance(await failure(client, answering(head)), OutputRefused)


async def test_file_that_grows_too_large_is_refused_while_it_is_read(client: httpx.AsyncClient) -> None:
    error = await failure(client, chunked(*[b"x" * 1000] * 20, end=False), max_bytes=10_000)
    assert isinstance(error, OutputRefused)
    downloaded, _ = await fetch(client, chunked(*[b"x" * 1000] * 10), max_bytes=10_000)
    assert len(downloaded.body) == 10_000


async def test_file_that_ends_early_may_be_fetched_again(client: httpx.AsyncClient) -> None:
    for answer in (answering(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"), chunked(b"abc", end=False)):
        error = await failure(client, answer)
        assert isinstance(error, SourceUnavailable)
        assert not error.final


async def test_server_that_says_nothing_or_nonsense_may_be_asked_again(client: httpx.AsyncClient) -> None:
    for answer in (answering(), answering(b"nonsense\r\n\r\n")):
        assert isinstance(await failure(client, answer), SourceUnavailable)


async def test_announced_length_beside_chunks_is_not_believed(client: httpx.AsyncClient) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"
    downloaded, _ = await fetch(client, answering(head, b"6\r\nabcdef\r\n0\r\n\r\n"))
    assert downloaded.body == b"abcdef"


async def test_download_has_a_cap_on_its_whole_time(client: httpx.AsyncClient) -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        await reader.read()  # until the client hangs up

    error = await failure(client, drip, seconds=0.1)
    assert isinstance(error, SourceUnavailable)
    assert "too long" in error.message


async def test_host_that_is_not_listed_is_refused_and_not_connected_to(client: httpx.AsyncClient) -> None:
    async with listening(answering(ok(b""))) as listener:
        for policy, hosts in ((LOCAL, ["cdn.example.com"]), (GuardPolicy(), ["*"])):
            with pytest.raises(OutputRefused) as refused:
                async with download(
                    client,
                    f"http://127.0.0.1:{listener.port}/?token=secret",
                    policy=policy,
                    hosts=hosts,
                    max_bytes=10,
                ):
                    pass
            assert "secret" not in str(refused.value)
    assert listener.connections == 0


@pytest.mark.parametrize(
    ("url", "policy", "hosts", "named"),
    [
        ("http://127.0.0.1:8090/a.png", LOCAL, ["cdn.example.com"], True),
        ("https://cdn.example.com/a.png", GuardPolicy(), ["other.example.com"], True),
        ("http://127.0.0.1:8090/a.png", GuardPolicy(), ["*"], True),
        ("https://127.0.0.1/a.png", GuardPolicy(), ["*"], True),
        ("https://cdn.example.com:8090/a.png", GuardPolicy(), ["*"], True),
        ("https://a@cdn.example.com/a.png", GuardPolicy(), ["*"], False),
        ("no url", GuardPolicy(), ["*"], False),
    ],
)
async def test_refusal_names_the_settings_that_would_allow_it_if_there_are_any(
    client: httpx.AsyncClient, url: str, policy: GuardPolicy, hosts: list[str], named: bool
) -> None:
    with pytest.raises(OutputRefused) as refused:
        async with download(client, url, policy=policy, hosts=hosts, max_bytes=10):
            pass
    hint = refused.value.hint
    assert hint
    assert ("GENRELAY_PROVIDERS__<NAME>__OUTPUT_HOSTS" in hint) is named
    assert ("GENRELAY_ALLOWED_PRIVATE_SUBNETS" in hint) is named


async def test_name_that_can_not_be_resolved_may_be_asked_again(client: httpx.AsyncClient) -> None:
    with pytest.raises(SourceUnavailable, match="NameNotFound"):
        async with download(client, "https://missing.invalid/", policy=LOCAL, hosts=["*"], max_bytes=10):
            pass


async def test_waiting_between_two_readings_does_not_count_as_reading(client: httpx.AsyncClient) -> None:
    async with listening(answering(ok(b"x" * 1000))) as listener:
        url = f"http://127.0.0.1:{listener.port}/"
        async with download(client, url, policy=LOCAL, hosts=["*"], max_bytes=MIB, seconds=0.5) as file:
            head = await file.read(10)
            loop = asyncio.get_running_loop()
            until = loop.time() + 0.6
            while loop.time() < until:
                await asyncio.sleep(0)
            assert len(head + await file.read(1000)) == 1000


async def test_download_holds_a_few_pieces_of_the_file_and_no_more(client: httpx.AsyncClient) -> None:
    size = 24 * MIB

    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode())
        piece = bytes(64 * 1024)
        for _ in range(size // len(piece)):
            writer.write(piece)
            await writer.drain()

    came = 0
    tracemalloc.start()
    try:
        async with listening(answer) as listener:
            url = f"http://127.0.0.1:{listener.port}/"
            async with download(client, url, policy=LOCAL, hosts=["*"], max_bytes=size) as file:
                while piece := await file.read(2**18):
                    came += len(piece)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert came == size
    assert peak < 4 * MIB
