"""Answers as JSON, whatever strange text they repeat."""

from __future__ import annotations

import json
from typing import Any

from starlette.responses import Response


def encode(value: Any) -> bytes:
    """Return compact JSON; a lone surrogate, which UTF-8 has no bytes for, stays the escape that it came as."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "backslashreplace")


def json_response(value: Any, status: int = 200) -> Response:
    """Return a value as a JSON answer."""
    return Response(encode(value), status_code=status, media_type="application/json")
