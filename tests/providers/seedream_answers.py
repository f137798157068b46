"""Seedream's answers, read in one line."""

from __future__ import annotations

import json
from typing import Any

from service.providers.contract import HttpReply, Source, SubmitOutcome
from service.providers.novita import PROVIDER

from .bodies import draw_picture, encode

BOTH = ("seedream-4.0", "seedream-4.5")
URL = "https://images.example/prod/1.jpeg?X-Tos-Expires=86400&X-Tos-Signature=abc"
PICTURE = draw_picture("JPEG", 2048, 16)
BASE64 = encode(PICTURE)
PADDED = PICTURE + b"x" * (-len(PICTURE) % 3 + 1)
SENSITIVE = {"code": "OutputImageSensitiveContentDetected", "message": "output image may contain sensitive information"}
BUSY = {"code": "ServerOverloaded", "message": "too many requests"}


def read(status: int, body: Any, operation: str = "seedream-4.5", **headers: str) -> SubmitOutcome:
    """Return what an answer means for its submit."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return PROVIDER.read_submit(operation, HttpReply(status, {k.replace("_", "-"): v for k, v in headers.items()}, raw))


def by_url(index: int = 0, url: str = URL) -> Source:
    """Return an output that lies behind a URL."""
    return Source(index, "image", url=url)


def inline(index: int = 0, data: bytes = PICTURE, claimed_type: str | None = None) -> Source:
    """Return an output that came inside the answer."""
    return Source(index, "image", inline=data, claimed_type=claimed_type)


def ark(code: Any, message: Any = "some words") -> dict[str, Any]:
    """Return an error as the service behind Seedream words it."""
    return {"error": {"code": code, "message": message, "param": "", "type": "BadRequest"}}
