"""One trace from a job's submit over callback and copy to its delivery, with OpenTelemetry and without."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import os
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.requests import Request
from starlette.responses import Response

from service.collector import is_named, sent_spans
from service.ids import read
from service.tracing import is_recording, read_traceparent, span
from tests.receiver import Receiver
from tests.serving import serving
from tests.world import World, job_body, until

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
GIVEN = f"00-{TRACE}-{CALLER}-01"
PROMPT = "a lighthouse at dawn, and nobody else's business"


async def run_job(world: World, receiver: Receiver, headers: dict[str, str]) -> dict[str, Any]:
    """Run a job whose events are delivered, and return it when its last event has come."""
    given = job_body(PROMPT, webhook=receiver.url + "/hooks")
    answer = await world.client.post("/v1/jobs", json=given, headers=headers)
    assert answer.status_code == 202, answer.text
    job = await world.end(answer.json())
    assert job["status"] == "succeeded"
    await receiver.until(where=lambda came: came.event["type"] == "job.succeeded")
    return job


async def find_spans(spans: InMemorySpanExporter, *wanted: str) -> dict[str, list[ReadableSpan]]:
    """Return the spans of the trace by name, once those that are wanted have ended."""

    async def look() -> dict[str, list[ReadableSpan]] | None:
        found: dict[str, list[ReadableSpan]] = {}
        for each in spans.get_finished_spans():
            if f"{each.context.trace_id:032x}" == TRACE:
                found.setdefault(each.name, []).append(each)
        return found if set(wanted) <= set(found) else None

    return await until(look)  # type: ignore[return-value]


def id_of(found: ReadableSpan) -> str:
    return f"{found.context.span_id:016x}"


def parent_of(found: ReadableSpan) -> str | None:
    return None if found.parent is None else f"{found.parent.span_id:016x}"


async def test_one_trace_goes_from_the_submit_over_callback_and_copy_to_the_delivery(
    world: World, receiver: Receiver, spans: InMemorySpanExporter
) -> None:
    job = await run_job(world, receiver, {"traceparent": GIVEN})
    # The settled callback may be the copy's cause, or come late.
    found = await find_spans(
        spans,
        "POST /v1/jobs",
        "submit",
        "provider submit",
        "provider look_up",
        "callback",
        "copy",
        "copy output",
        "deliver",
    )
    [edge], [submit], [copy] = found["POST /v1/jobs"], found["submit"], found["copy"]
    assert parent_of(edge) == CALLER
    for name in ("submit", "callback", "copy", "deliver"):
        assert {parent_of(each) for each in found[name]} == {id_of(edge)}, name
    assert {parent_of(each) for each in found["provider submit"]} == {id_of(submit)}
    assert {parent_of(each) for each in found["copy output"]} == {id_of(copy)}
    judges = {id_of(each) for name in ("settle", "look up") for each in found.get(name, [])}
    assert {parent_of(each) for each in found["provider look_up"]} <= judges
    told = submit.attributes or {}
    assert told["genrelay.job_id"] == job["id"]
    assert (told["genrelay.provider"], told["genrelay.operation"], told["genrelay.attempt"]) == ("novita", "txt2img", 1)
    assert told["genrelay.outcome"] == "Accepted"
    assert [(each.attributes or {})["genrelay.outcome"] for each in found["deliver"]] == ["delivered"] * len(
        found["deliver"]
    )


async def test_nothing_but_ids_and_words_of_ours_is_in_a_span(
    world: World, receiver: Receiver, spans: InMemorySpanExporter
) -> None:
    await run_job(world, receiver, {"traceparent": GIVEN})
    await find_spans(spans, "deliver", "callback")
    said = "".join(each.to_json() for each in spans.get_finished_spans())
    for hidden in (
        PROMPT,
        "sandbox-key",
        "http://",
        "https://",
        "/v1/callbacks/",
        world.settings["GENRELAY_SECRET_KEY"],
    ):
        assert hidden not in said, hidden


async def test_a_webhook_carries_the_trace_and_the_delivery_is_its_parent(
    world: World, receiver: Receiver, spans: InMemorySpanExporter
) -> None:
    await run_job(world, receiver, {"traceparent": GIVEN})
    found = await find_spans(spans, "deliver")
    told = [read_traceparent(each.headers.get("traceparent")) for each in receiver.arrivals]
    assert {each.trace_id for each in told if each} == {TRACE}

    async def all_ended() -> bool:
        ended = (await find_spans(spans, "deliver"))["deliver"]
        return {each.span_id for each in told if each} <= {id_of(each) for each in ended}

    assert found
    await until(all_ended)


async def test_without_opentelemetry_the_trace_is_kept_and_handed_on_as_it_came(
    world: World, receiver: Receiver
) -> None:
    assert not is_recording()
    job = await run_job(world, receiver, {"traceparent": GIVEN})
    assert {each.headers["traceparent"] for each in receiver.arrivals} == {GIVEN}
    assert "traceparent" not in json.dumps(job)
    assert all("traceparent" not in each.body.decode() for each in receiver.arrivals)


@pytest.mark.parametrize("given", ["", "nonsense", f"00-{'0' * 32}-{CALLER}-01"])
async def test_a_job_without_a_good_traceparent_gets_a_trace_of_its_own(world: World, given: str) -> None:
    answer = await world.client.post("/v1/jobs", json=job_body(), headers={"traceparent": given})
    job_id = read("job", answer.json()["id"])
    kept = read_traceparent(await world.service.pool.fetchval("SELECT traceparent FROM jobs WHERE id = $1", job_id))
    assert kept is not None
    assert kept.trace_id != "0" * 32


async def test_a_copy_is_in_the_trace_of_the_request_that_asked_for_it(world: World) -> None:
    job = await world.run()
    await world.client.put(
        "/v1/destinations/other?check=false",
        json={
            "bucket": world.bucket,
            "region": world.s3.region,
            "path": "other",
            "endpoint_url": world.s3.endpoint_url,
            "auth": {
                "type": "access_key",
                "access_key_id": world.s3.access_key_id,
                "secret_access_key": world.s3.secret_access_key,
            },
        },
    )
    answer = await world.client.post(
        f"/v1/jobs/{job['id']}/copy", json={"destination": "other"}, headers={"traceparent": GIVEN}
    )
    assert answer.status_code == 202, answer.text
    copied: UUID = read("job", answer.json()["id"])
    assert await world.service.pool.fetchval("SELECT traceparent FROM jobs WHERE id = $1", copied) == GIVEN


async def test_a_caller_that_does_not_record_its_trace_keeps_us_from_it(
    world: World, receiver: Receiver, spans: InMemorySpanExporter
) -> None:
    await run_job(world, receiver, {"traceparent": GIVEN[:-1] + "0"})
    assert [each for each in spans.get_finished_spans() if f"{each.context.trace_id:032x}" == TRACE] == []
    assert {each.headers["traceparent"][-2:] for each in receiver.arrivals} == {"00"}
    assert {each.headers["traceparent"][3:35] for each in receiver.arrivals} == {TRACE}


@pytest.mark.parametrize("name", ["traceparent", "Traceparent", "tracestate"])
async def test_a_subscription_can_not_set_the_header_itself(world: World, receiver: Receiver, name: str) -> None:
    given = {"url": receiver.url + "/hooks", "headers": {name: GIVEN}}
    answer = await world.client.post("/v1/subscriptions", json=given)
    assert answer.status_code == 422
    assert "is set by this service" in answer.text


class Collector:
    """A collector of traces: OTLP over HTTP. status: what it answers."""

    def __init__(self) -> None:
        self.status = 200
        self.requests = 0
        self.spans: list[tuple[str, str]] = []
        self.services: set[str] = set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        assert scope["path"] == "/v1/traces"
        body = await Request(scope, receive).body()
        self.requests += 1
        if self.status == 200:
            self._keep(body)
        await Response(b"", self.status)(scope, receive, send)

    def _keep(self, body: bytes) -> None:
        if body[:2] == b"\x1f\x8b":
            body = gzip.decompress(body)
        told = ExportTraceServiceRequest.FromString(body)
        for of in told.resource_spans:
            self.services |= {each.value.string_value for each in of.resource.attributes if each.key == "service.name"}
            self.spans += [(each.name, each.trace_id.hex()) for scoped in of.scope_spans for each in scoped.spans]


@contextlib.contextmanager
def environment(**variables: str) -> Any:
    """Set variables for a while."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


@pytest.fixture
async def collector() -> AsyncIterator[tuple[Collector, str]]:
    made = Collector()
    async with serving(made) as url:
        yield made, url


async def test_spans_reach_a_collector_by_the_end_of_the_service(collector: tuple[Collector, str]) -> None:
    made, url = collector
    with environment(OTEL_EXPORTER_OTLP_ENDPOINT=url):
        async with sent_spans():
            with span("outer", GIVEN), span("inner"):
                pass
    assert sorted(made.spans) == [("inner", TRACE), ("outer", TRACE)]
    assert made.services == {"genrelay"}
    assert not is_recording()


async def test_the_operators_own_name_and_sampler_hold(collector: tuple[Collector, str]) -> None:
    made, url = collector
    with environment(OTEL_EXPORTER_OTLP_ENDPOINT=url, OTEL_SERVICE_NAME="relay-eu"):
        async with sent_spans():
            with span("seen"):
                pass
    with environment(OTEL_EXPORTER_OTLP_ENDPOINT=url, OTEL_TRACES_SAMPLER="always_off"):
        async with sent_spans():
            with span("not seen"):
                pass
    assert made.services == {"relay-eu"}
    assert [name for name, _ in made.spans] == ["seen"]


async def test_a_collector_that_is_away_holds_nobody_up_and_is_told_of_once(
    collector: tuple[Collector, str], capsys: pytest.CaptureFixture[str]
) -> None:
    made, url = collector
    made.status = 400
    loop = asyncio.get_running_loop()
    with environment(OTEL_EXPORTER_OTLP_ENDPOINT=url, OTEL_BSP_MAX_EXPORT_BATCH_SIZE="1"):
        async with sent_spans():
            for _ in range(20):
                with span("lost"):
                    pass
            ending = loop.time()
    assert loop.time() - ending < 5
    assert made.requests > 1
    said = capsys.readouterr()
    assert (said.out + said.err).count("tracing.collector_away") == 1


async def test_a_collector_that_nobody_listens_for_does_not_delay_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    loop = asyncio.get_running_loop()
    with environment(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9"):
        async with sent_spans():
            with span("lost"):
                pass
            ending = loop.time()
    assert loop.time() - ending < 5


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": " "}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_SDK_DISABLED": "True"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_TRACES_EXPORTER": "none"}, False),
    ],
)
def test_traces_are_sent_where_the_usual_variables_say(given: dict[str, str], named: bool) -> None:
    assert is_named(given) is named


async def test_a_span_that_fails_says_the_type_and_never_the_text(spans: InMemorySpanExporter) -> None:
    with pytest.raises(asyncpg.PostgresError), span("failing"):
        raise asyncpg.PostgresError("a secret in the text")
    [found] = spans.get_finished_spans()
    assert found.status.description == "PostgresError"
    assert "secret in the text" not in found.to_json()
