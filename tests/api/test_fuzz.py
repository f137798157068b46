"""No input gives a 500, and nothing that is refused leaves a trace."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.api.answers import rows_of_jobs
from tests.world import API_KEY, World, destination, job_body

# Everything JSON can say and a bit more: lone surrogates, NUL, NaN, giants.
TEXT = st.text(st.characters(), max_size=12) | st.sampled_from(
    ["\0", "\ud800", "", "novita", "txt2img", "acme", "x" * 300]
)
NUMBERS = st.integers() | st.floats() | st.sampled_from([2**63, -(2**63) - 1, 10**400, 1e308, 30, 900])
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
METHODS = st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"])
WORDS = ["v1", "jobs", "destinations", "providers", "callbacks", "novita", "acme", "check", "cancel", "retry", "events"]
SEGMENTS = st.sampled_from(
    [*WORDS, "outputs", "0", "job_01h455vb4pex5vsknk084sn02q", "..", "", "%00", "%ff", "%2F", "\u00e9"]
)
NAMES = st.sampled_from(
    ["limit", "cursor", "status", "test", "wait", "created_after", "metadata[a]", "metadata[", "[]", "%00"]
)
BOUNDED = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def _is_no_accident(answer: httpx.Response) -> None:
    assert answer.status_code < 500, (answer.request.method, answer.request.url, answer.text)
    if answer.status_code >= 400 and answer.request.method != "HEAD":
        assert answer.headers["content-type"] == "application/problem+json", answer.text
        assert answer.json()["request_id"] == answer.headers["x-request-id"]


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path]
    for step in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        found += _places(value[step], (*path, step))
    return found


def _put(value: Any, path: tuple[Any, ...], part: Any) -> Any:
    if not path:
        return part
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = _put(value[path[0]], path[1:], part)
    return copy


FULL = job_body(
    metadata={"a": "1"},
    webhook="https://consumer.example/hook",
    webhook_events_filter=["job.succeeded"],
    test_mode={"enabled": True, "return_task_status": "TASK_STATUS_FAILED"},
    deadline_seconds=900,
    on_unclear="fail",
)


@BOUNDED
@given(data=st.data())
async def test_no_body_of_a_job_gives_a_500(world: World, data: st.DataObject) -> None:
    body = _put(FULL, data.draw(st.sampled_from(_places(FULL))), data.draw(JSON))
    before = await rows_of_jobs(world)
    answer = await world.client.post("/v1/jobs", content=json.dumps(body))
    _is_no_accident(answer)
    assert answer.status_code in {202, 400, 422}
    if answer.status_code != 202:
        after = await rows_of_jobs(world)
        assert after["jobs"] == before["jobs"]
        # Fewer, when one of the jobs before has ended meanwhile.
        assert after["job_inputs"] <= before["job_inputs"]


@BOUNDED
@given(data=st.data())
async def test_no_body_of_a_destination_gives_a_500(world: World, data: st.DataObject) -> None:
    full = destination(
        world.s3, "bucket", tags={"a": "b"}, encryption={"type": "aws:kms", "key_id": "k"}, acl="private"
    )
    body = _put(full, data.draw(st.sampled_from(_places(full))), data.draw(JSON))
    answer = await world.client.put("/v1/destinations/fuzzed", content=json.dumps(body))
    _is_no_accident(answer)
    assert world.s3.secret_access_key not in answer.text
    _is_no_accident(await world.client.get("/v1/destinations/fuzzed"))


@BOUNDED
@given(
    method=METHODS,
    path=st.lists(SEGMENTS, max_size=6).map("/".join) | st.text(st.characters(codec="utf-8"), max_size=20),
    query=st.lists(st.tuples(NAMES, st.text(st.characters(codec="utf-8"), max_size=12)), max_size=4),
    body=st.binary(max_size=40) | JSON.map(lambda value: json.dumps(value).encode()),
)
async def test_no_path_query_or_body_gives_a_500(
    world: World, method: str, path: str, query: list[tuple[str, str]], body: bytes
) -> None:
    url = httpx.URL(f"{world.url}/{quote(path.lstrip('/'), safe='/%')}", params=query)
    _is_no_accident(await world.client.request(method, url, content=body))


async def test_no_query_written_by_hand_gives_a_500(world: World) -> None:
    for query in (
        "%", "%zz", "&&&", "=", "a", "a=b=c", "limit", "limit=", "%ed%a0%80=1", "status=%ed%a0%80", "metadata[%ed%a0%80]=%00",
        "metadata[]=", "metadata[a][b]=1", "cursor=%00", "created_after=%2B", "created_after=9999-12-31T23:59:59-23:59",
        "created_before=10000-01-01", "created_after=2026-W01-1", "wait=1e1", "&".join(f"metadata[{n}]=1" for n in range(500)),
    ):  # fmt: skip
        for path in ("/v1/jobs", "/v1/destinations", "/v1/providers", "/v1/jobs/job_01h455vb4pex5vsknk084sn02q"):
            _is_no_accident(await world.client.get(f"{path}?{query}"))


async def _raw(world: World, request: bytes) -> bytes:
    """Send bytes as they are; returns everything that comes back until the service hangs up."""
    host, _, port = world.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request)
    await writer.drain()
    writer.write_eof()
    async with asyncio.timeout(5):
        answer = await reader.read()
    writer.close()
    return answer


async def test_odd_http_is_refused_or_answered_but_never_an_error_of_ours(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    head = f"Host: x\r\nAuthorization: Bearer {API_KEY}\r\nConnection: close\r\n".encode()
    for request in (
        b"GET /v1/jobs?\xff\xfe=\x80 HTTP/1.1\r\n" + head + b"\r\n",
        b"GET /v1/jobs/\xc3\x28 HTTP/1.1\r\n" + head + b"\r\n",
        b"GET //v1//jobs HTTP/1.1\r\n" + head + b"\r\n",
        b"GET http://elsewhere/v1/jobs HTTP/1.1\r\n" + head + b"\r\n",
        b"BREW /v1/jobs HTTP/1.1\r\n" + head + b"\r\n",
        b"POST /v1/jobs HTTP/1.1\r\n" + head + b"Content-Length: 500\r\n\r\n{}",
        b"POST /v1/jobs HTTP/1.1\r\n" + head + b"Content-Length: 2\r\n\r\n{}{}{}",
        b"POST /v1/jobs HTTP/1.1\r\n" + head + b"Content-Length: -5\r\n\r\n{}",
        b"POST /v1/jobs HTTP/1.1\r\n" + head + b"Content-Length: " + b"9" * 40 + b"\r\n\r\n{}",
        b"POST /v1/jobs HTTP/1.1\r\n" + head + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
        b"POST /v1/jobs HTTP/1.1\r\n" + head + b"Idempotency-Key: \xff\x80\r\nContent-Length: 2\r\n\r\n{}",
        b"GET /v1/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \xff\xfe\r\nConnection: close\r\n\r\n",
        b"GET /v1/jobs HTTP/1.1\r\n" + head + b"Prefer: wait=\xff\r\nX-Request-Id: \xff\r\n\r\n",
        b"GET /v1/jobs HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade, close\r\n\r\n",
    ):
        answer = await _raw(world, request)
        assert not answer.startswith(b"HTTP/1.1 5"), (request, answer)
    assert (await world.client.get("/v1/jobs")).status_code == 200
    logged = capsys.readouterr()
    assert "request.failed" not in logged.out + logged.err
