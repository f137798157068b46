"""ModelsLab's errors: sentences instead of codes, and what to do about each.

https://docs.modelslab.com/error-codes
https://docs.modelslab.com/rate-limits
checked 2026-09; older sentences from recorded answers of stablediffusionapi.com, as it was called before

The sentences change from edition to edition, so they are recognised by what they can't do without. What is not
recognised is told word for word. Many of them quote the request ("Model not found: …"), so that a customer's own words
stand in them: no row may lead to anything that is worth writing them for, such as another try of a paid submit.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto

from service.jobs.errors import ErrorCode, JobError, ProviderSaid
from service.providers.modelslab.envelope import Envelope


class About(Enum):
    """What an error is about: our account, our pace, ModelsLab itself, an endpoint, the task's id, or the request.

    BREAKDOWN is ModelsLab's trouble that leaves open whether anything ran: what a 5xx would say. TROUBLE is the other.
    """

    ACCOUNT = auto()
    RATE = auto()
    BREAKDOWN = auto()
    TROUBLE = auto()
    ENDPOINT = auto()
    TASK_ID = auto()
    REQUEST = auto()
    UNRECOGNISED = auto()


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of error: how its sentences look, and what to do."""

    sentence: re.Pattern[str]
    about: About
    hint: str


_KEY = "The operator of this service must check its ModelsLab API key (GENRELAY_PROVIDERS__MODELSLAB__API_KEY)."
_CREDITS = "The operator of this service must add credits at ModelsLab; then retry the job."
_PLAN = "ModelsLab does not allow this to the operator's plan; the operator must upgrade it."
_SLOWER = "Too many requests for the operator's ModelsLab account; retry the job later."
_LATER = "ModelsLab has trouble of its own; retry the job later."
_GONE = (
    "ModelsLab does not serve this endpoint (any more); the operator can say where it lives now"
    " (GENRELAY_PROVIDERS__MODELSLAB__OPERATIONS__{name}__PATH)."
)
_BY_DEFAULT = "Correct the input as ModelsLab's message says and submit again."
_FAILED = "Change the input, or retry the job: a retry is a new task that ModelsLab may charge for."


def _row(sentence: str, about: About, hint: str) -> Row:
    return Row(re.compile(sentence, re.IGNORECASE), about, hint)


_PACE = r"rate.?limit|too many requests|queued requests|slow down"
# The first row that fits counts. The model's comes first of all, because its sentence ends with the customer's own words.
TABLE = (
    _row(
        r"model\b.{0,40}\b(not found|not exist|invalid)|invalid model|unknown model",
        About.REQUEST,
        "ModelsLab does not know this model, or has not loaded it; check `model_id`.",
    ),
    _row(_PACE, About.RATE, _SLOWER),
    _row(r"api.?key|unauthori[sz]ed|unauthenticated", About.ACCOUNT, _KEY),
    _row(r"insufficient (funds|balance)|\bcredits?\b|payment required", About.ACCOUNT, _CREDITS),
    _row(r"premium|subscription|upgrade your plan", About.ACCOUNT, _PLAN),
    _row(r"prompt\b.{0,40}\brequired", About.REQUEST, "Give a `prompt`."),
    _row(
        r"(fetch|load|download|open|read|access).{0,20}\bimage|image.{0,20}\b(url|link)\b",
        About.REQUEST,
        "Check that `init_image` and `mask_image` are links to images that ModelsLab can fetch without a login.",
    ),
    _row(
        r"\b(endpoint|route)\b.{0,40}(not found|n.t exist|not exist|no longer|retired|removed)", About.ENDPOINT, _GONE
    ),
    # Here the key is fine and the look-up's own request is not.
    _row(r"request.?id\b.{0,40}\brequired", About.TROUBLE, _LATER),
    _row(
        r"(request|task|job|generation|record|result|\bid)\b.{0,40}(\bnot found|n.t exist|\bnot exist|\bexpired)"
        r"|(invalid|unknown|wrong) ((request|task|job|generation)[ _]?)?id\b"
        r"|no (such )?(request|task|job|generation|record)\b",
        About.TASK_ID,
        "ModelsLab does not know this task, or no longer; submit again.",
    ),
    _row(
        r"(internal|server) error|bad gateway|gateway time|unavailable|timed? ?out|maintenance", About.BREAKDOWN, _LATER
    ),
    _row(r"try again|loading|warming", About.TROUBLE, _LATER),
    _row(r"\b(processing|generation|inference|task|job) (has )?failed\b", About.REQUEST, _FAILED),
)
# At the beginning of a sentence there is no room for a customer's words.
RATE_LIMIT = re.compile(rf"\W*(maximum )?(\d+ )?({_PACE})", re.IGNORECASE)
# Documented: how a task ends of which nothing more is known. It is no advice about the look-up.
FAILED_TRY_AGAIN = re.compile(r"\W*failed\W+(please )?try again\W*", re.IGNORECASE)
PROGRESS = re.compile(
    r"process|progress|queue|pending|\bwait|\bnot (yet )?(ready|available|finished|complete)|\b(yet|still)\b",
    re.IGNORECASE,
)
# The same at a submit, where a name or a prompt may hold any single word of these.
UNDER_WAY = re.compile(
    r"\b(request|image|task|job|generation)\b.{0,30}\b(processing|in progress|in (the |a )?queue|queued)\b",
    re.IGNORECASE,
)
# "Processing failed" is no progress.
ENDED = re.compile(r"fail|invalid|refus|reject|\bunable|\brequired\b|\bnot found|n.t exist|\bnot exist", re.IGNORECASE)
_BY_STATUS = {
    401: (About.ACCOUNT, _KEY),
    402: (About.ACCOUNT, _CREDITS),
    403: (About.ACCOUNT, _PLAN),
    429: (About.RATE, _SLOWER),
}
MISSING = frozenset({404, 410})
ABOUT_US = frozenset({About.ACCOUNT, About.RATE, About.BREAKDOWN, About.TROUBLE, About.ENDPOINT})


def decide_about(status: int, words: str | None) -> tuple[About, str]:
    """Return what an error is about and what to do: by its sentence, else by its HTTP status."""
    row = next((row for row in TABLE if words and row.sentence.search(words)), None)
    if row is not None:
        return row.about, row.hint
    return _BY_STATUS.get(status, (About.UNRECOGNISED, _BY_DEFAULT))


def is_rate_limit(status: int, words: str | None) -> bool:
    """Tell whether a submit was turned away for its pace, which proves that nothing runs.

    A 429 says so by itself. Under another status a sentence must begin so: further on, a model's name or a prompt may say it.
    """
    return status == 429 or (200 <= status < 500 and RATE_LIMIT.match(words or "") is not None)


def is_progress(words: str | None) -> bool:
    """Tell whether an `error` says no more than that there is nothing to be had yet."""
    return words is not None and PROGRESS.search(words) is not None and not ENDED.search(words)


def may_run(status: int, words: str | None) -> bool:
    """Tell whether an error under a submit leaves open that the task runs: a 5xx in words, or a task under way."""
    about, _ = decide_about(status, words)
    begun = about is About.UNRECOGNISED and is_progress(words) and UNDER_WAY.search(words or "") is not None
    return about is About.BREAKDOWN or begun


def is_about_us(status: int, words: str | None) -> bool:
    """Tell whether an error is about our account, our pace, or ModelsLab's own trouble, and says nothing about a task."""
    about, _ = decide_about(status, words)
    return about in ABOUT_US and not FAILED_TRY_AGAIN.fullmatch(words or "")


def describe_rejection(operation: str, status: int, envelope: Envelope) -> JobError:
    """Return the error of a refused submit."""
    words = envelope.words
    about, hint = decide_about(status, words)
    # A submit names no task: what looks like a sentence about one is about something in the body.
    if about is About.TASK_ID:
        about, hint = About.REQUEST, _BY_DEFAULT
    if about is About.ENDPOINT or (status in MISSING and hint == _BY_DEFAULT):
        hint = _GONE.format(name=re.sub(r"[^A-Z0-9]", "_", operation.upper()))
    message = f"ModelsLab refused the request: {words}" if words else _describe_silence(status)
    return JobError(ErrorCode.PROVIDER_REJECTED, message, hint, _said(status, envelope))


def _describe_silence(status: int) -> str:
    if status in MISSING:
        return f"ModelsLab does not know this endpoint (HTTP {status})."
    return f"ModelsLab refused the request: HTTP {status}, without a reason"


def describe_failure(envelope: Envelope, status: int | None = None) -> JobError:
    """Return the error of a task that ended badly. status: HTTP's, None when it came in a result."""
    words = envelope.words
    message = "ModelsLab reports that the task failed" + (f": {words}" if words else ", without a reason.")
    row = next((row for row in TABLE if words and row.about is About.REQUEST and row.sentence.search(words)), None)
    return JobError(ErrorCode.PROVIDER_FAILED, message, row.hint if row else _FAILED, _said(status, envelope))


def _said(status: int | None, envelope: Envelope) -> ProviderSaid:
    return ProviderSaid(status, envelope.shown_status, envelope.words)
