"""What can go wrong between a provider's file and a customer's bucket, told so that a customer can act on it."""

from __future__ import annotations

from service.aws.errors import DestinationDenied, DestinationError, DestinationUnavailable
from service.jobs.errors import ErrorCode, OutputError
from service.net.policy import Reason

__all__ = [
    "DestinationConflict",
    "DestinationDenied",
    "DestinationError",
    "DestinationUnavailable",
    "OutputError",
    "OutputRefused",
    "SourceGone",
    "SourceUnavailable",
    "TruncatedOutput",
    "hint_for_refusal",
]

_ALLOW_SUBNET = "GENRELAY_ALLOWED_PRIVATE_SUBNETS"
_ALLOW_HOST = "GENRELAY_PROVIDERS__<NAME>__OUTPUT_HOSTS"


def hint_for_refusal(reason: Reason) -> str | None:
    """Return what to do about a URL that the guard refused; None when no setting would let it through."""
    match reason:
        case "host_not_allowed":
            return (
                f"If the provider keeps its files there, the operator names the host in {_ALLOW_HOST} (on a private "
                f"network the subnet in {_ALLOW_SUBNET} too); then retry the job."
            )
        case "scheme" | "port" | "private_address":
            return (
                "Files are fetched over https, port 443 or 8443, from public addresses. If the provider is on a private "
                f"network (a sandbox), the operator names the subnet in {_ALLOW_SUBNET}, which allows plain http and any "
                f"port there, and the host in {_ALLOW_HOST}; then retry the job."
            )
    return None


class OutputRefused(OutputError):  # noqa: N818 - reads as what happened
    """The file, or where it lies, is nothing that we store."""

    code = ErrorCode.OUTPUT_REJECTED
    final = True
    usual_hint = "The provider made something that can't be stored; change the input or ask the provider."


class TruncatedOutput(OutputError):  # noqa: N818 - reads as what happened
    """The file ends too early; fetched again it may be whole."""

    code = ErrorCode.OUTPUT_REJECTED
    final = False
    usual_hint = "The provider's file is damaged; submit the job again."


class SourceGone(OutputError):  # noqa: N818 - reads as what happened
    """The provider's URL gives nothing any more."""

    code = ErrorCode.OUTPUT_EXPIRED
    final = True
    usual_hint = (
        "The provider keeps its files for a limited time. `retry` asks it for them once more, which costs nothing; only if "
        "they are gone then too, submit a new job."
    )


class SourceUnavailable(OutputError):  # noqa: N818 - reads as what happened
    """The provider's URL can't be read now; it may be better later."""

    code = ErrorCode.OUTPUT_EXPIRED
    final = False
    usual_hint = (
        "The provider's file could not be fetched. `retry` tries again, and asks the provider for another URL if need be, "
        "which costs nothing; only if it is gone then, submit a new job."
    )


class DestinationConflict(DestinationError):  # noqa: N818 - reads as what happened
    """Something else is stored under the output's key, and is left alone."""

    code = ErrorCode.DESTINATION_CONFLICT
    final = True
    usual_hint = "Move or delete the object under this key, then retry the job."
