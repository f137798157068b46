"""How we log: one wide line per unit of work, JSON unless on a terminal, and no secret by construction."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import MutableMapping
from types import TracebackType
from typing import Any

import structlog

from config.scrubbing import CUT, clean, is_secret_name, scrub

__all__ = ["scrub", "set_up_logging"]


def _clean_event(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name, value in event.items():
        kind = type(value)
        if is_secret_name(name) and value is not None and kind is not bool:
            event[name] = CUT
        elif kind is str:
            event[name] = scrub(value)
        elif (
            kind is not int and kind is not float and kind is not bool and value is not None and name not in _PASSED_ON
        ):
            event[name] = clean(value)
    return event


# Of structlog's own, taken out again before the line is written.
_PASSED_ON = frozenset({"_record", "_from_structlog"})


def _name_logger(logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Say which library speaks. asyncio tells of tasks with the texts of their exceptions, from the second line on."""
    record = event["_record"]
    event["logger"] = record.name
    if record.name == "asyncio":
        event["event"] = str(event["event"]).partition("\n")[0]
    return event


def _frames(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Turn an exception into its type and where it came from; its text may quote values, so it is left out."""
    info = event.pop("exc_info", None)
    if info:
        found = sys.exc_info() if info is True else info
        if isinstance(found, BaseException):
            found = type(found), found, found.__traceback__
        if found[0] is not None:
            event["exception"] = f"{found[0].__module__}.{found[0].__qualname__}"
            event["frames"] = _places(found[2])
    return event


def _places(trace: TracebackType | None) -> list[str]:
    return [
        f"{f.filename.rsplit('/site-packages/')[-1]}:{f.lineno} {f.name}" for f in traceback.extract_tb(trace)[-12:]
    ]


def set_up_logging(level: str = "info", form: str = "auto") -> None:
    """Route our log and every library's through the same processors, to standard error."""
    on_terminal = form == "console" or (form == "auto" and sys.stderr.isatty())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        _frames,
        _clean_event,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    end = structlog.dev.ConsoleRenderer() if on_terminal else structlog.processors.JSONRenderer()
    number = getattr(logging, level.upper())
    structlog.configure(
        processors=[*shared, end],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=[_name_logger, *shared], processors=[_drop_meta, end])
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    # These log whole URLs, which hold our tokens and others' signatures.
    for name in ("httpx", "httpcore", "aiobotocore", "botocore", "aiohttp"):
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger("genrelay").setLevel(number)
    # Its tasks' exceptions are ours and logged by us; what is left is noise about every retry.
    logging.getLogger("pgqueuer").setLevel(logging.ERROR)


def _drop_meta(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    event.pop("_record", None)
    event.pop("_from_structlog", None)
    return event
