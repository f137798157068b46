"""Answers in Novita's own shape: the error table of its documentation and the envelope its clients read.

https://novita.ai/docs/api-reference/basic-error-code (names and statuses; the envelope is what its clients decode).
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable

from starlette.requests import Request
from starlette.responses import Response

from service.sandbox.answers import json_response
from service.sandbox.state import Sandbox
from service.sandbox.submissions import Submission
from service.sandbox.submitting import chosen_refusal, is_retired
from service.sandbox.uploads import BadUpload, Flaw, Upload, read_upload

STATUS_OF_REASON = {
    "INVALID_REQUEST_BODY": 400,
    "IMAGE_FILE_EXCEEDS_MAX_SIZE": 400,
    "INVALID_IMAGE_FORMAT": 400,
    "IMAGE_EXCEEDS_MAX_RESOLUTION": 400,
    "INVALID_IMAGE_SIZE": 400,
    "ILLEGAL_PROMPT": 400,
    # A surprise, but documented: a missing key is 400 and a wrong one 403.
    "MISSING_API_KEY": 400,
    "INVALID_API_KEY": 403,
    "API_NOT_FOUND": 404,
    "TASK_NOT_FOUND": 404,
    "RATE_LIMIT_EXCEEDED": 429,
    "CREATE_TASK_FAILED": 500,
    "TASK_FAILED": 500,
    "GET_RESULT_FAILED": 500,
}
REASON_OF_FLAW: dict[Flaw, str] = {
    "base64": "INVALID_IMAGE_FORMAT",
    "format": "INVALID_IMAGE_FORMAT",
    "bytes": "IMAGE_FILE_EXCEEDS_MAX_SIZE",
    "pixels": "IMAGE_EXCEEDS_MAX_RESOLUTION",
}
REFUSALS_OF_FAULTS = {
    "retired": ("API_NOT_FOUND", "there is no such API"),
    "400": ("ILLEGAL_PROMPT", "the prompt is not allowed"),
    "500_before": ("CREATE_TASK_FAILED", "failed to create the task"),
    "429": ("RATE_LIMIT_EXCEEDED", "rate limit exceeded"),
}
MAX_PIXELS = 16_000_000


class Refusal(Exception):  # noqa: N818 - an answer more than an error
    """A request that Novita would refuse; `reason` is one of the table's."""

    def __init__(self, reason: str, message: str, retry_after: float = 0) -> None:
        """Take the reason, its sentence, and the seconds for `Retry-After` (0: no such header)."""
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.retry_after = retry_after


def refusal_response(refusal: Refusal) -> Response:
    """Return a refusal in Novita's error envelope."""
    status = STATUS_OF_REASON[refusal.reason]
    body = {"code": status, "reason": refusal.reason, "message": refusal.message, "metadata": {}}
    response = json_response(body, status)
    if refusal.retry_after:
        response.headers["retry-after"] = f"{refusal.retry_after:g}"
    return response


def check_access(sandbox: Sandbox, request: Request) -> None:
    """Raise the Refusal of a path that the settings have taken away, and of a missing or wrong key."""
    if is_retired(sandbox, request):
        raise Refusal("API_NOT_FOUND", "there is no such API")
    header = request.headers.get("authorization", "")
    # The JavaScript SDK sends its key without `Bearer`.
    key = header.removeprefix("Bearer").strip()
    if not key:
        raise Refusal("MISSING_API_KEY", "missing API key")
    wanted = sandbox.settings.api_key
    if wanted is not None and not secrets.compare_digest(key.encode(), wanted.encode()):
        raise Refusal("INVALID_API_KEY", "the API key is not valid")


def refuse_if_asked(sandbox: Sandbox, submission: Submission, more: Iterable[str] = ()) -> str | None:
    """Raise the Refusal that the faults ask for; return the name of one that is not in Novita's envelope, else None."""
    name = chosen_refusal(sandbox, submission, (*REFUSALS_OF_FAULTS, "403_html", "gone", *more))
    if name in REFUSALS_OF_FAULTS:
        reason, message = REFUSALS_OF_FAULTS[name]
        raise Refusal(reason, message, submission.faults.value("retry_after") if name == "429" else 0)
    return name


def read_image(text: str, name: str, max_megabytes: int, max_pixels: int = MAX_PIXELS) -> Upload:
    """Return the image in a field called `name`; raises Refusal with the reason for what is wrong with it."""
    try:
        return read_upload(text, max_megabytes * 1024 * 1024, max_pixels)
    except BadUpload as bad:
        raise Refusal(REASON_OF_FLAW[bad.flaw], f"{name}: {bad}") from bad
