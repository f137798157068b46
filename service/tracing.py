"""One trace per job, from its submit over callback and copy to its delivery; W3C trace context is what holds it together.

Without OpenTelemetry a trace is an id in logs and headers, and a span costs next to nothing. `service/collector.py` has
them made and sent, where the extra `otel` is installed and a collector is named.

https://www.w3.org/TR/trace-context/
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar, Token
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Literal, Protocol, Self

import structlog

from service.ids import show
from service.jobs.model import Job

HEADER = "traceparent"
Kind = Literal["internal", "server", "client", "producer", "consumer"]
Attribute = str | int | float | bool | None

_LONGEST = 512  # characters; a later version's may be longer than ours, which has 55
_FORM = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Traceparent:
    """Where a span stands: its trace and itself, in lower-case hex. sampled: whether the caller records the trace."""

    trace_id: str
    span_id: str
    sampled: bool = True

    def __str__(self) -> str:
        """Return the header's value."""
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"


def read_traceparent(text: str | None) -> Traceparent | None:
    """Read a header's value; None for whatever the specification does not allow, whoever sent it."""
    found = _FORM.fullmatch(text) if text is not None and len(text) <= _LONGEST else None
    if found is None:
        return None
    version, trace_id, span_id, flags, rest = found.groups()
    if version == "ff" or (version == "00" and rest) or not trace_id.strip("0") or not span_id.strip("0"):
        return None
    return Traceparent(trace_id, span_id, bool(int(flags, 16) & 1))


def new_traceparent() -> Traceparent:
    """Begin a trace. It counts as sampled: nobody has decided against it, and each who comes later may record it."""
    return Traceparent(secrets.token_hex(16), secrets.token_hex(8))


class Span(Protocol):
    """A piece of work in a trace; a context manager."""

    traceparent: Traceparent | None
    """Where it stands; None when it is not recorded."""

    def set(self, **attributes: Attribute) -> None:
        """Say more of it. Never a secret, a prompt or a URL's query."""
        ...

    def rename(self, name: str) -> None:
        """Give it a better name, now that one is known."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None: ...


class _NoSpan:
    """What spans are while nobody records them."""

    traceparent: Traceparent | None = None

    def set(self, **_attributes: Attribute) -> None:
        pass

    def rename(self, _name: str) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


NO_SPAN = _NoSpan()
Begin = Callable[[str, Traceparent | None, Kind, datetime | None, dict[str, Attribute]], Span]
_current: ContextVar[Traceparent | None] = ContextVar("the span that is open", default=None)


class _Recording:
    begin: Begin | None = None


def record_spans(begin: Begin | None) -> None:
    """Let spans of this process be made by `begin` from now on; None: nobody records any."""
    _Recording.begin = begin


def is_recording() -> bool:
    """Whether spans are made."""
    return _Recording.begin is not None


def span(
    name: str,
    trace: Traceparent | str | None = None,
    *,
    kind: Kind = "internal",
    since: datetime | None = None,
    **attributes: Attribute,
) -> Span:
    """Return a span, to be entered; what is begun within it is its child.

    trace: its parent, if not the span that is open. since: when it began, if not now. An exception that leaves it is noted by
    its type, never by its text.
    """
    begin = _Recording.begin
    if begin is None:
        return NO_SPAN
    parent = read_traceparent(trace) if isinstance(trace, str) else trace
    return begin(name, parent or _current.get(), kind, since, attributes)


def job_span(
    name: str,
    job: Job,
    *,
    kind: Kind = "internal",
    since: datetime | None = None,
    nested: bool = False,
    **more: Attribute,
) -> Span:
    """Return a span about a job, in the trace that the job was submitted in. nested: within the span that is open."""
    if _Recording.begin is None:
        return NO_SPAN
    return span(
        name,
        None if nested else job.traceparent,
        kind=kind,
        since=since,
        job_id=show("job", job.id),
        provider=job.provider,
        operation=job.operation,
        status=job.status.value,
        attempt=job.attempt,
        **more,
    )


def current() -> Traceparent | None:
    """Return where we are: the span that is open, or the trace that came with the request."""
    return _current.get()


def set_current(trace: Traceparent | None) -> Token[Traceparent | None]:
    """Take this for where we are, until `reset_current`."""
    return _current.set(trace)


def reset_current(token: Token[Traceparent | None]) -> None:
    """Go back to where we were."""
    with suppress(ValueError):  # ended in another task than it was begun in
        _current.reset(token)


@contextmanager
def inside(trace: Traceparent) -> Iterator[Traceparent]:
    """Take this for where we are within the block."""
    token = _current.set(trace)
    try:
        yield trace
    finally:
        _current.reset(token)


def show_current() -> str | None:
    """Return where we are as a job keeps it."""
    trace = _current.get()
    return None if trace is None else str(trace)


def trace_id_of(traceparent: str | None) -> str | None:
    """Return the trace's id out of what a job keeps."""
    found = read_traceparent(traceparent)
    return None if found is None else found.trace_id


def name_trace(job: Job) -> None:
    """Have every further line of the log, in this task, say which trace the job belongs to."""
    trace_id = trace_id_of(job.traceparent)
    if trace_id is not None:
        structlog.contextvars.bind_contextvars(trace_id=trace_id)
