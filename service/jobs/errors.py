"""Why a job ended badly: the closed list of codes, and the error that a job carries."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar


class ErrorCode(StrEnum):
    """Every `error.code` a job can have.

    provider_rejected: the provider refused the submit; nothing ran and nothing is owed.
    provider_failed: the provider took the task and reports that it failed, or does not know it any more.
    provider_unavailable: the submit could not be sent, again and again, or is not offered here any more; nothing ran and
    nothing is owed.
    submit_unknown: the submit's answer was lost, and no callback came or can come; it may have run, and may be charged.
    no_outputs: the provider reports success, but no output, also when asked again.
    output_expired: the provider's URL gave the output up before it could be fetched.
    output_rejected: the output is nothing that is stored: too large, of a wrong type, damaged, or at a forbidden address.
    destination_denied: the bucket refuses us, or its description is wrong.
    destination_conflict: something else is stored under the output's key; it was left alone.
    destination_unavailable: the bucket could not be written for longer than we try.
    deadline_exceeded: the job's own deadline passed before the provider was done.
    """

    PROVIDER_REJECTED = "provider_rejected"
    PROVIDER_FAILED = "provider_failed"
    PROVIDER_UNAVAILABLE = "provider_unavailable"
    SUBMIT_UNKNOWN = "submit_unknown"
    NO_OUTPUTS = "no_outputs"
    OUTPUT_EXPIRED = "output_expired"
    OUTPUT_REJECTED = "output_rejected"
    DESTINATION_DENIED = "destination_denied"
    DESTINATION_CONFLICT = "destination_conflict"
    DESTINATION_UNAVAILABLE = "destination_unavailable"
    DEADLINE_EXCEEDED = "deadline_exceeded"


@dataclass(frozen=True, slots=True)
class ProviderSaid:
    """What the provider answered: HTTP status (None when it came in a result), its own code, its own words (capped)."""

    status: int | None
    code: str | None
    message: str | None


@dataclass(frozen=True, slots=True)
class JobError:
    """What failed, what to do about it, and what the provider said."""

    code: ErrorCode
    message: str
    hint: str
    provider: ProviderSaid | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the error as the API shows it."""
        said = self.provider
        return {
            "code": self.code.value,
            "message": self.message,
            "hint": self.hint,
            "provider": None if said is None else {"status": said.status, "code": said.code, "message": said.message},
        }


class OutputError(Exception):
    """An output could not be copied.

    code: the job's `error.code` if it ends here. final: trying again can't help. hint: what to do about it.
    Neither message nor hint ever holds a query string or a credential.
    """

    code: ClassVar[ErrorCode]
    final: ClassVar[bool]
    usual_hint: ClassVar[str] = ""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = self.usual_hint if hint is None else hint

    def as_job_error(self) -> JobError:
        """Return the error for the job that ends with it."""
        return JobError(code=self.code, message=self.message, hint=self.hint)
