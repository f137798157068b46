"""Spans made with OpenTelemetry's SDK, which is an extra: nobody but `service/collector.py` may import this."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextvars import Token
from datetime import datetime
from types import TracebackType
from typing import Self

import structlog
from opentelemetry import trace as otel
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from service.tracing import Attribute, Kind, Span, Traceparent, reset_current, set_current

log = structlog.get_logger()

_KINDS = {
    "internal": otel.SpanKind.INTERNAL,
    "server": otel.SpanKind.SERVER,
    "client": otel.SpanKind.CLIENT,
    "producer": otel.SpanKind.PRODUCER,
    "consumer": otel.SpanKind.CONSUMER,
}


def make_provider(exporter: SpanExporter | None = None) -> TracerProvider:
    """Return the SDK's provider; it reads samplers, limits, resources and its collector from the environment.

    exporter: in place of the one for OTLP over HTTP.
    """
    named = OTELResourceDetector().detect().attributes.get(SERVICE_NAME)
    resource = Resource.create({} if named else {SERVICE_NAME: "genrelay"})
    # Signals and the way out are ours: it is shut down where the service stops.
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    # The SDK logs every failure anew; `ToldExporter` says it once.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    provider.add_span_processor(BatchSpanProcessor(ToldExporter(exporter or OTLPSpanExporter())))
    return provider


class ToldExporter(SpanExporter):
    """Sends spans, and says once when its collector does not take them, and once when it does again."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._away = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans; never raises."""
        try:
            result = self._exporter.export(spans)
        except Exception:  # whatever it is, these spans are lost, and nothing else
            result = SpanExportResult.FAILURE
        away = result is not SpanExportResult.SUCCESS
        if away and not self._away:
            log.warning("tracing.collector_away")
        elif self._away and not away:
            log.info("tracing.collector_back")
        self._away = away
        return result

    def shutdown(self) -> None:
        """Send no more."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Wait for what is under way."""
        return self._exporter.force_flush(timeout_millis)


class Recorder:
    """Makes spans."""

    def __init__(self, provider: TracerProvider) -> None:
        self._tracer = provider.get_tracer("genrelay")

    def begin(
        self,
        name: str,
        parent: Traceparent | None,
        kind: Kind,
        since: datetime | None,
        attributes: dict[str, Attribute],
    ) -> Span:
        """Begin a span; its sampler honours what the parent says."""
        span = self._tracer.start_span(
            name,
            context=otel.set_span_in_context(otel.NonRecordingSpan(_context_of(parent))),
            kind=_KINDS[kind],
            attributes=_named(attributes),
            start_time=None if since is None else round(since.timestamp() * 1e9),
        )
        return _Recorded(span)


def _context_of(parent: Traceparent | None) -> otel.SpanContext:
    if parent is None:
        return otel.INVALID_SPAN_CONTEXT
    flags = otel.TraceFlags(otel.TraceFlags.SAMPLED if parent.sampled else otel.TraceFlags.DEFAULT)
    return otel.SpanContext(int(parent.trace_id, 16), int(parent.span_id, 16), is_remote=True, trace_flags=flags)


def _named(attributes: Mapping[str, Attribute]) -> dict[str, str | int | float | bool]:
    return {f"genrelay.{name}": value for name, value in attributes.items() if value is not None}


class _Recorded:
    """A span of the SDK's."""

    def __init__(self, span: otel.Span) -> None:
        self._span = span
        context = span.get_span_context()
        self.traceparent: Traceparent | None = Traceparent(
            f"{context.trace_id:032x}", f"{context.span_id:016x}", context.trace_flags.sampled
        )
        self._token: Token[Traceparent | None] | None = None

    def set(self, **attributes: Attribute) -> None:
        self._span.set_attributes(_named(attributes))

    def rename(self, name: str) -> None:
        self._span.update_name(name)

    def __enter__(self) -> Self:
        self._token = set_current(self.traceparent)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._token is not None:
            reset_current(self._token)
            self._token = None
        if kind is not None:
            # Its text may quote values.
            self._span.set_status(otel.Status(otel.StatusCode.ERROR, kind.__name__))
        self._span.end()
