"""The collector of traces: whether there is one, and that spans reach it for as long as the service runs.

It is named by OpenTelemetry's own variables (`OTEL_EXPORTER_OTLP_ENDPOINT`, …). One that is away is told of once and costs
nothing: spans wait in a bounded queue, and those beyond it are dropped.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import structlog

from service.tracing import record_spans

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

log = structlog.get_logger()

_STOP_SECONDS = 3.0
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


def is_named(environ: Mapping[str, str]) -> bool:
    """Whether the environment names a collector and does not switch tracing off."""

    def told(name: str) -> str:
        return environ.get(name, "").strip()

    off = told("OTEL_SDK_DISABLED").lower() == "true" or told("OTEL_TRACES_EXPORTER").lower() == "none"
    return not off and any(map(told, _ENDPOINTS))


@asynccontextmanager
async def sent_spans(environ: Mapping[str, str] = os.environ) -> AsyncIterator[None]:
    """Record spans within the block, if a collector is named, and send what is left at its end, for 3 s at most."""
    provider = _make_provider() if is_named(environ) else None
    if provider is None:
        yield
        return
    log.info("tracing.begun")
    try:
        yield
    finally:
        record_spans(None)
        await _shut_down(provider)


def _make_provider() -> TracerProvider | None:
    try:
        from service import spans  # noqa: PLC0415 - OpenTelemetry is an extra, and takes a while to import
    except ImportError:
        log.warning("tracing.unavailable", reason="a collector is named, but the extra `otel` is not installed")
        return None
    try:
        provider = spans.make_provider()
    except Exception as error:  # a wrong variable of OpenTelemetry's must not keep the service from working
        log.warning("tracing.unavailable", reason=f"a variable OTEL_… is wrong ({type(error).__name__})")
        return None
    record_spans(spans.Recorder(provider).begin)
    return provider


async def _shut_down(provider: TracerProvider) -> None:
    """Send what is left; in a thread that nobody waits for once its time is over."""
    loop, done = asyncio.get_running_loop(), asyncio.Event()

    def run() -> None:
        # The loop may be gone when it ends.
        with suppress(RuntimeError):
            try:
                provider.shutdown()
            finally:
                loop.call_soon_threadsafe(done.set)

    threading.Thread(target=run, name="spans", daemon=True).start()
    try:
        async with asyncio.timeout(_STOP_SECONDS):
            await done.wait()
    except TimeoutError:
        log.warning("tracing.not_sent", reason="the collector did not take the last spans in time")
