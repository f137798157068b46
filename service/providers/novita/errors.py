"""Novita's errors: the envelope they come in, and what to do about each.

https://novita.ai/docs/api-reference/basic-error-code (names and statuses; the envelope is undocumented and was read
from Novita's SDKs and from recorded answers), checked 2026-09
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from service.jobs.errors import ErrorCode, JobError, ProviderSaid
from service.providers.contract import Json
from service.providers.replies import read_integer, read_object, read_text, show_code, show_words

RATE_LIMIT = "RATE_LIMIT_EXCEEDED"
ENDPOINT_GONE = "API_NOT_FOUND"
TASK_UNKNOWN = "TASK_NOT_FOUND"


@dataclass(frozen=True, slots=True)
class Reason:
    """One documented error: the HTTP status it comes with, and what to do."""

    status: int
    hint: str


_KEY = "The operator of this service must check its Novita API key (GENRELAY_PROVIDERS__NOVITA__API_KEY)."
_BALANCE = "The operator of this service must top up its Novita balance; then retry the job."
_ACCOUNT = "Novita does not allow this to the operator's account; the operator must ask Novita to enable it."
_LATER = "Novita has trouble of its own; retry the job later."
_SLOWER = "Too many requests for the operator's Novita account; retry the job later."
_RETIRED = "Novita no longer serves this endpoint; use another operation or provider."
_MOVED = (
    " If Novita has moved it, the operator of this service can say where to: GENRELAY_PROVIDERS__NOVITA__OPERATIONS__"
)
_POLICY = "Novita's content policy refuses this; change {what} and submit again."

# Novita's own statuses are odd: a missing key is 400 and a wrong one 403, an empty balance is 400.
REASONS: dict[str, Reason] = {
    "INVALID_REQUEST_BODY": Reason(400, "Correct the input as Novita's message says and submit again."),
    "IMAGE_FILE_EXCEEDS_MAX_SIZE": Reason(
        400, "Send a smaller image file: at most 10 MB, or 30 MB to inpaint or upscale."
    ),
    "INVALID_IMAGE_FORMAT": Reason(
        400, "Send the image in a format that this operation reads; PNG and JPEG always are among them."
    ),
    "IMAGE_EXCEEDS_MAX_RESOLUTION": Reason(
        400, "Send an image with fewer pixels; Novita's page about this operation says how many it takes."
    ),
    "INVALID_IMAGE_SIZE": Reason(400, "Send an image whose width and height Novita accepts for this model."),
    "IMAGE_NO_FACE_DETECTED": Reason(400, "Send an image that shows a face clearly."),
    "INVALID_AUDIO_FILE": Reason(400, "Send an audio file that Novita can read."),
    "INVALID_CUSTOM_OUTPUT_PATH": Reason(400, "Correct the storage path; this service itself never sends one."),
    "ILLEGAL_PROMPT": Reason(400, _POLICY.format(what="the prompt")),
    "ILLEGAL_IMAGE_CONTENT": Reason(400, _POLICY.format(what="the image")),
    "MISSING_API_KEY": Reason(400, _KEY),
    "BILLING_BALANCE_NOT_ENOUGH": Reason(400, _BALANCE),
    "INVALID_API_KEY": Reason(403, _KEY),
    "FEATURE_NOT_ALLOWED": Reason(403, _ACCOUNT),
    "API_NOT_ALLOWED": Reason(403, _ACCOUNT),
    "NEED_REAL_NAME_VERIFY": Reason(403, "The operator of this service must verify its identity at Novita."),
    "BILLING_AUTH_FAILED": Reason(403, "The operator of this service must check its billing details at Novita."),
    ENDPOINT_GONE: Reason(404, _RETIRED),
    TASK_UNKNOWN: Reason(404, "Novita does not know this task, or no longer; submit again."),
    RATE_LIMIT: Reason(429, _SLOWER),
    "BILLING_FAILED": Reason(500, _LATER),
    "CREATE_TASK_FAILED": Reason(500, _LATER),
    "GET_RESULT_FAILED": Reason(500, _LATER),
    "TASK_FAILED": Reason(500, "Novita could not finish the task; check the input, then retry the job."),
    # Names of the language-model side, which share the gateway.
    "FAILED_TO_AUTH": Reason(401, _KEY),
    "NOT_ENOUGH_BALANCE": Reason(403, _BALANCE),
    "TOKEN_LIMIT_EXCEEDED": Reason(429, _SLOWER),
    "SERVICE_NOT_AVAILABLE": Reason(503, _LATER),
    "ACCESS_DENY": Reason(403, _ACCOUNT),
    "MODEL_NOT_FOUND": Reason(404, "Novita does not know this model; check `model_name` (the model's `sd_name`)."),
    # Only in an SDK.
    "ANONYMOUS_ACCESS_QUOTA_EXCEEDS": Reason(403, _KEY),
}

# The codes of the V2 envelope, as the Python SDK names them. Worked examples of V3 pages still show that envelope.
V2_CODES: dict[int, tuple[str, str]] = {
    -1: ("INTERNAL_ERROR", _LATER),
    1: ("INVALID_JSON", REASONS["INVALID_REQUEST_BODY"].hint),
    2: ("MODEL_NOT_EXISTS", REASONS["MODEL_NOT_FOUND"].hint),
    3: ("TASK_ID_NOT_EXISTS", REASONS[TASK_UNKNOWN].hint),
    4: ("INVALID_AUTH", _KEY),
    5: ("HOST_UNAVAILABLE", _LATER),
    6: ("PARAM_RANGE_ERROR", REASONS["INVALID_REQUEST_BODY"].hint),
    7: ("COST_BALANCE_ERROR", _BALANCE),
    8: ("SAMPLER_NOT_EXISTS", "Novita does not know this sampler; change `sampler_name`."),
    9: ("TIMEOUT", _LATER),
}
# Of these, the ones that say by themselves that nothing was begun: wrong, forbidden or unpaid requests.
V2_TASK_UNKNOWN = 3
V2_REFUSALS = frozenset({1, 2, 3, 4, 6, 7, 8})

_BY_STATUS = {401: _KEY, 402: _BALANCE, 403: _ACCOUNT, 404: _RETIRED, 410: _RETIRED}
_BY_DEFAULT = "Correct the input as Novita's message says and submit again."
_FAILED = "Change the input, or retry the job: a retry is a new task that Novita charges for."


@dataclass(frozen=True, slots=True)
class Envelope:
    """An error in Novita's own words: `{code, reason, message, metadata}`, or `{code, msg, data}` of V2."""

    code: int | None
    reason: str | None
    message: str | None

    @property
    def name(self) -> str | None:
        """Return Novita's name for the error, fit to be shown."""
        if self.reason is not None or self.code is None:
            return show_code(self.reason)
        return V2_CODES[self.code][0] if self.code in V2_CODES else show_code(str(self.code))


def write_variable(operation: str) -> str:
    """Return an operation's name as environment variables have it: `SEEDREAM_4_0`."""
    return re.sub(r"[^A-Z0-9]", "_", operation.upper())


def read_envelope(value: Json) -> Envelope | None:
    """Return the envelope that a JSON value is, None when Novita did not write it (a proxy's error, for one)."""
    said = read_object(value)
    code, reason = read_integer(said.get("code")), read_text(said.get("reason"))
    message = said.get("message", said.get("msg"))
    if reason is None and not (isinstance(message, str) and code is not None):
        return None
    return Envelope(code, reason, read_text(message))


def describe_rejection(operation: str, status: int, envelope: Envelope | None) -> JobError:
    """Return the error of a refused submit; without an envelope only the status speaks."""
    hint = _hint(status, envelope)
    if hint == _RETIRED:
        hint += f"{_MOVED}{write_variable(operation)}__PATH."
    if envelope is None:
        message = f"Novita does not know this endpoint (HTTP {status})."
        return JobError(ErrorCode.PROVIDER_REJECTED, message, hint, ProviderSaid(status, None, None))
    said = ProviderSaid(status, envelope.name, show_words(envelope.message))
    message = f"Novita refused the request: {said.message or said.code or f'HTTP {status}'}"
    return JobError(ErrorCode.PROVIDER_REJECTED, message, hint, said)


def describe_failure(task_status: str, reason: Json) -> JobError:
    """Return the error of a task that ended badly; `reason` is `task.reason`, free text."""
    words = show_words(reason)
    what = "was canceled" if task_status == "TASK_STATUS_CANCELED" else "failed"
    message = f"Novita reports that the task {what}" + (f": {words}" if words else ", without a reason.")
    known = REASONS.get(words or "")
    return JobError(
        ErrorCode.PROVIDER_FAILED, message, known.hint if known else _FAILED, ProviderSaid(None, task_status, words)
    )


def _hint(status: int, envelope: Envelope | None) -> str:
    if envelope and envelope.reason in REASONS:
        return REASONS[envelope.reason].hint
    if envelope and envelope.reason is None and envelope.code in V2_CODES:
        return V2_CODES[envelope.code][1]
    return _BY_STATUS.get(status, _BY_DEFAULT)
