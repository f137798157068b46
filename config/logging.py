"""How we log: one wide line per unit of work, JSON unless on a terminal, and no secret by construction."""

from __future__ import annotations

import logging
import re
import sys
import traceback
from collections.abc import MutableMapping
from types import TracebackType
from typing import Any

import structlog

# What must never be read in a log, wherever it comes from: a URL's query, a callback's token, a bearer's key.
_SECRETS = (
    (re.compile(r"(https?://[^\s\"'?]+)\?[^\s\"']*"), r"\1?…"),
    (re.compile(r"(/v1/callbacks/[a-z0-9_-]+/)[A-Za-z0-9_=-]+"), r"\1…"),
    (re.compile(r"(?i)(bearer\s+)[^\s\"']+"), r"\1…"),
    (re.compile(r"(postgres(?:ql)?://[^:/@\s]*:)[^@\s]*@"), r"\1…@"),
    (re.compile(r"\b(whsec_|whsk_)[A-Za-z0-9+/=_-]+"), r"\1…"),
)


def scrub(text: str) -> str:
    """Return the text without what looks like a secret."""
    # Most of what is logged is a number, an id or a word: those can't hold any of it.
    if len(text) < 8 or ("/" not in text and " " not in text and not text.startswith("whs")):
        return text
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


def _scrub_event(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = scrub(value)
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
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _frames,
        _scrub_event,
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
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=[_drop_meta, end]))
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
