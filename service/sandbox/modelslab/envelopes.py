"""ModelsLab's errors: a sentence, or an object of sentences, under a status that may well be 200.

https://docs.modelslab.com/error-codes, …/rate-limits
"""

from __future__ import annotations

import secrets
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from service.sandbox.answers import json_response
from service.sandbox.state import Sandbox
from service.sandbox.submissions import Submission
from service.sandbox.submitting import chosen_refusal, is_retired

REFUSALS_OF_FAULTS: dict[str, tuple[int, Any]] = {
    "retired": (404, "The requested endpoint does not exist."),
    "400": (400, "The prompt contains content that is not allowed"),
    "message_object": (400, {"prompt": ["The prompt field is required."]}),
    "500_before": (500, "Internal server error. Please try again."),
    "429": (429, "Rate limit exceeded. Maximum 5 queued requests allowed."),
}


class Refused(Exception):  # noqa: N818 - an answer more than an error
    """A request that ModelsLab would refuse: its status and its `message`, which may be an object."""

    def __init__(self, status: int, message: Any, retry_after: float = 0) -> None:
        """Take the parts of the answer; retry_after: seconds for the body, 0 for none."""
        super().__init__(str(message))
        self.status = status
        self.message = message
        self.retry_after = retry_after


def refused_response(refused: Refused) -> Response:
    """Return a refusal as an answer."""
    body = {"status": "error", "message": refused.message}
    if refused.retry_after:
        whole = int(refused.retry_after)
        body["retry_after"] = whole if whole == refused.retry_after else refused.retry_after
    return json_response(body, refused.status)


def check_access(sandbox: Sandbox, request: Request, body: dict[str, Any]) -> None:
    """Raise the Refused of a path that the settings have taken away, and of a missing or wrong key."""
    if is_retired(sandbox, request):
        raise Refused(404, "The requested endpoint does not exist.")
    key, wanted = body.get("key"), sandbox.settings.api_key
    if not isinstance(key, str) or not key:
        raise Refused(401, "Invalid API key")
    if wanted is not None and not secrets.compare_digest(key.encode("utf-8", "replace"), wanted.encode()):
        raise Refused(401, "Invalid API key")


def refuse_if_asked(sandbox: Sandbox, submission: Submission) -> str | None:
    """Raise the Refused that the faults ask for; return the name of one that is not in ModelsLab's words, else None."""
    faults = submission.faults
    status = 200 if "error_200" in faults else 0
    name = chosen_refusal(sandbox, submission, (*REFUSALS_OF_FAULTS, "403_html", "gone"))
    if name in REFUSALS_OF_FAULTS:
        known, message = REFUSALS_OF_FAULTS[name]
        raise Refused(status or known, message, faults.value("retry_after") if name == "429" else 0)
    # With another refusal this fault is about that one's status, and then it is over with it.
    if name is None and status and not any(other in faults for other in REFUSALS_OF_FAULTS):
        raise Refused(200, "Model id not found")
    return name
