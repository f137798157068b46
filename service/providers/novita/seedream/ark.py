"""Errors of Ark, where Seedream comes from: Novita passes them through in some answers.

https://www.volcengine.com/docs/82379/1099476 (codes and statuses; a code may go on after a dot; the rows of 429 and 500
were read from copies in public clients), checked 2026-09

The account they speak of must be Novita's own at Ark, not the operator's at Novita: Ark never sees the latter.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from service.jobs.errors import ErrorCode, JobError, ProviderSaid
from service.providers.contract import HttpReply, Json, NotRun, Rejected, SubmitOutcome, Unclear
from service.providers.replies import read_object, read_retry_after, read_text, show_code, show_words


@dataclass(frozen=True, slots=True)
class ArkCode:
    """One documented code: the HTTP status it comes with, and what to do."""

    status: int
    hint: str


@dataclass(frozen=True, slots=True)
class ArkError:
    """What stands in `error`, of a whole answer or of one image."""

    code: str
    message: str | None


_CORRECT = "Correct the input as the message says and submit again."
_POLICY = "Seedream's content policy refuses {what}"
_PROMPT = _POLICY.format(what="the prompt; change it and submit again.")
_REFERENCE = _POLICY.format(what="a reference image; change it and submit again.")
_OUTPUT = _POLICY.format(what="what it drew; change the prompt or the reference images and submit again.")
_ACCOUNT = "Novita's own access to this model has trouble; the operator of this service must ask Novita."
_LATER = "Seedream is busy; retry the job later."

CODES: dict[str, ArkCode] = {
    "InvalidParameter": ArkCode(400, _CORRECT),
    "MissingParameter": ArkCode(400, _CORRECT),
    "InvalidImageURL": ArkCode(400, "Send a URL that Novita's servers can fetch, or the image itself as a data URI."),
    "InputTextSensitiveContentDetected": ArkCode(400, _PROMPT),
    "InputTextRiskDetection": ArkCode(400, _PROMPT),
    "InputImageSensitiveContentDetected": ArkCode(400, _REFERENCE),
    "InputImageRiskDetection": ArkCode(400, _REFERENCE),
    "OutputImageSensitiveContentDetected": ArkCode(400, _OUTPUT),
    "OutputImageRiskDetection": ArkCode(400, _OUTPUT),
    "SensitiveContentDetected": ArkCode(400, _POLICY.format(what="this request; change it and submit again.")),
    "PolicyViolation": ArkCode(400, _POLICY.format(what="this request; change it and submit again.")),
    "InvalidEndpoint": ArkCode(400, _ACCOUNT),
    "AuthenticationError": ArkCode(401, _ACCOUNT),
    "InvalidAccountStatus": ArkCode(401, _ACCOUNT),
    "AccessDenied": ArkCode(403, _ACCOUNT),
    "AccountOverdueError": ArkCode(403, _ACCOUNT),
    "OperationDenied": ArkCode(403, _ACCOUNT),
    "ModelNotOpen": ArkCode(404, _ACCOUNT),
    "InvalidEndpointOrModel": ArkCode(404, _ACCOUNT),
    "RateLimitExceeded": ArkCode(429, _LATER),
    "QuotaExceeded": ArkCode(429, _LATER),
    "ServerOverloaded": ArkCode(429, _LATER),
    "RequestBurstTooFast": ArkCode(429, _LATER),
    "InflightBatchsizeExceeded": ArkCode(429, _LATER),
    "InternalServiceError": ArkCode(500, "Seedream has trouble of its own; retry the job later."),
}
# What codes of 5xx have in their names; under such a code anything may have been made.
OWN_TROUBLE = re.compile(r"internal|time.?out|unavailable", re.IGNORECASE)


def read_ark_error(value: Json) -> ArkError | None:
    """Return the error that `value`, what stood in `error`, is; None without a code, which any proxy could have said."""
    said = read_object(value)
    code = read_text(said.get("code"))
    return None if code is None else ArkError(code, read_text(said.get("message")))


def decide_ark_error(reply: HttpReply, error: ArkError) -> SubmitOutcome:
    """Return how a submit ended that was answered with the error; under HTTP 2xx the code alone decides."""
    known = _find(error.code)
    status = reply.status
    if 200 <= status < 300:
        # Images are charged one by one as they are made: a refusal that we don't know yet owes nothing either.
        status = known.status if known else 500 if OWN_TROUBLE.search(_head(error.code)) else 400
    if not 400 <= status < 500 or status == 408:
        return Unclear(_name(reply, error))
    if is_transient(error) or status == 429:
        return NotRun(_name(reply, error), read_retry_after(reply.headers))
    return Rejected(_describe(reply.status, error))


def is_transient(error: ArkError) -> bool:
    """Tell whether the same request may do better later."""
    known = _find(error.code)
    return known is not None and known.status == 429


def _find(code: str) -> ArkCode | None:
    head = _head(code)
    # Ark says whose limit it was: ModelAccountIpmRateLimitExceeded and others.
    return CODES["RateLimitExceeded"] if head.endswith("RateLimitExceeded") else CODES.get(head)


def _head(code: str) -> str:
    return code.split(".", 1)[0]


def _describe(status: int, error: ArkError) -> JobError:
    known = _find(error.code)
    said = ProviderSaid(status, show_code(error.code), show_words(error.message))
    message = f"Seedream refused the request: {said.message or said.code or f'HTTP {status}'}"
    return JobError(ErrorCode.PROVIDER_REJECTED, message, known.hint if known else _CORRECT, said)


def _name(reply: HttpReply, error: ArkError) -> str:
    """Name the answer by status and documented code only: other words may quote a secret."""
    head = _head(error.code)
    return f"HTTP {reply.status} {head}" if head in CODES else f"HTTP {reply.status}"
