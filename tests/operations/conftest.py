"""What operating is tested with."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from service.spans import Recorder
from service.tracing import record_spans
from tests.receiver import Receiver, serving_receiver


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A customer's receiver, in this loop."""
    async with serving_receiver() as running:
        yield running


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    """Every span that ends, recorded by the SDK."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    record_spans(Recorder(provider).begin)
    yield exporter
    record_spans(None)
    provider.shutdown()
