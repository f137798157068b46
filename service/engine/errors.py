"""The errors that jobs end with because of something we decided: one function each, with what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from service.jobs.errors import ErrorCode, JobError
from service.jobs.model import Output, first_loss, moment

# The outputs are made and paid for, and still at their source.
BUCKETS_OWN = frozenset(
    {ErrorCode.DESTINATION_DENIED, ErrorCode.DESTINATION_CONFLICT, ErrorCode.DESTINATION_UNAVAILABLE}
)


def deadline_exceeded(seconds: int, doing: str, why: str = "") -> JobError:
    """The deadline passed. why: what kept the job from its provider, as far as it is known."""
    because = f"; the provider could not be reached, or had no room for it: {why}" if why else ""
    return JobError(
        ErrorCode.DEADLINE_EXCEEDED,
        f"the job was still {doing} when its deadline of {seconds} s passed{because}",
        "give a longer deadline_seconds, or retry: a task that the provider still knows is taken up without a second charge",
    )


def not_offered(seconds: int, provider: str, operation: str) -> JobError:
    """The deadline passed, and the settings of whoever saw it do not name the operation."""
    return JobError(
        ErrorCode.DEADLINE_EXCEEDED,
        f"the job was still queued when its deadline of {seconds} s passed: no worker that offers {operation} at {provider}"
        " took it up",
        f"the operator looks whether every worker's settings name it (GENRELAY_PROVIDERS__{provider.upper()}__OPERATIONS__…);"
        " then retry",
    )


def submit_unknown(*, calls_back: bool = True) -> JobError:
    """Nobody can tell whether the provider ran it."""
    ever = "no callback came" if calls_back else "this operation never calls back"
    return JobError(
        ErrorCode.SUBMIT_UNKNOWN,
        f"the provider's answer to the submit was lost or unclear, and {ever}: it may or may not have run",
        'look into the provider\'s own console; retry with {"accept_second_charge": true} sends it again',
    )


def no_outputs() -> JobError:
    """Success, and nothing to show for it."""
    return JobError(
        ErrorCode.NO_OUTPUTS,
        "the provider reports success without any output, also when asked again",
        "retry sends the job again; if it stays like this, ask the provider",
    )


def task_vanished() -> JobError:
    """The provider does not know its own task."""
    return JobError(
        ErrorCode.PROVIDER_FAILED,
        "the provider does not know the task it accepted",
        "retry sends the job again",
    )


def provider_unavailable(reason: str) -> JobError:
    """The provider could not be reached often enough."""
    return JobError(
        ErrorCode.PROVIDER_UNAVAILABLE,
        f"the provider could not be reached: {reason}",
        "nothing was sent and nothing is owed; retry when the provider is back",
    )


def no_key(provider: str) -> JobError:
    """Our own configuration lacks a key."""
    return JobError(
        ErrorCode.PROVIDER_UNAVAILABLE,
        f"this service has no API key for {provider}",
        f"the operator sets GENRELAY_PROVIDERS__{provider.upper()}__API_KEY; then retry",
    )


def operation_gone(provider: str, operation: str) -> JobError:
    """The operator has switched the operation off while the job waited."""
    return JobError(
        ErrorCode.PROVIDER_UNAVAILABLE,
        f"this service does not offer {operation} at {provider} any more",
        "nothing was sent and nothing is owed; use another operation, or ask the operator",
    )


def mock_lost(reason: str) -> JobError:
    """A test job's mock did not arrive."""
    return JobError(
        ErrorCode.PROVIDER_UNAVAILABLE,
        f"no mock could be had: {reason}" if reason else "no mock could be had",
        "see what `genrelay check-webhook` (POST /v1/webhook-checks) says about GENRELAY_PUBLIC_URL; then retry",
    )


def input_gone() -> JobError:
    """There is nothing left to send."""
    return JobError(
        ErrorCode.PROVIDER_UNAVAILABLE,
        "the job's input is not kept any more",
        "submit it as a new job",
    )


def with_time_left(error: JobError, outputs: Sequence[Output], now: datetime) -> JobError:
    """Say until when `retry` can still save what the bucket did not take; unchanged when nobody knows, or all is spooled."""
    missing = [output for output in outputs if output.lost_at is not None]
    lost_at = first_loss(missing)
    if lost_at is None or lost_at <= now or all(output.spooled_until for output in missing):
        return error
    until = f"`retry` can save the outputs until {moment(lost_at)}, when the first of them is gone at its source."
    return replace(error, hint=f"{error.hint} {until}".lstrip())
