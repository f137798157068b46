"""Answers in Novita's own shape: the error table of its documentation and the envelope its clients read.

https://novita.ai/docs/api-reference/basic-error-code (names and statuses; the envelope is what its clients decode).
"""

from __future__ import annotations

import json
from typing import Any

from starlette.responses import Response

STATUS_OF_REASON = {
    "INVALID_REQUEST_BODY": 400,
    "IMAGE_FILE_EXCEEDS_MAX_SIZE": 400,
    "INVALID_IMAGE_FORMAT": 400,
    "IMAGE_EXCEEDS_MAX_RESOLUTION": 400,
    "ILLEGAL_PROMPT": 400,
    # A surprise, but documented: a missing key is 400 and a wrong one 403.
    "MISSING_API_KEY": 400,
    "INVALID_API_KEY": 403,
    "API_NOT_FOUND": 404,
    "TASK_NOT_FOUND": 404,
    "RATE_LIMIT_EXCEEDED": 429,
    "CREATE_TASK_FAILED": 500,
    "GET_RESULT_FAILED": 500,
}


class Refusal(Exception):  # noqa: N818 - an answer more than an error
    """A request that Novita would refuse; `reason` is one of the table's."""

    def __init__(self, reason: str, message: str, retry_after: float = 0) -> None:
        """Take the reason, its sentence, and the seconds for `Retry-After` (0: no such header)."""
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.retry_after = retry_after


def encode(value: Any) -> bytes:
    """Return compact JSON."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def json_response(value: Any, status: int = 200) -> Response:
    """Return a value as a JSON answer."""
    return Response(encode(value), status_code=status, media_type="application/json")


def refusal_response(refusal: Refusal) -> Response:
    """Return a refusal in Novita's error envelope."""
    status = STATUS_OF_REASON[refusal.reason]
    body = {"code": status, "reason": refusal.reason, "message": refusal.message, "metadata": {}}
    response = json_response(body, status)
    if refusal.retry_after:
        response.headers["retry-after"] = f"{refusal.retry_after:g}"
    return response
